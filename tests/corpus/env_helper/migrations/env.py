from app_migrations import run

run()
