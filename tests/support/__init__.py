"""What the tests are made with: servers, databases, projects, a proxy."""
