import os


def load_settings(path):
    os.environ.setdefault("FROM_DOTENV", path.read_text().strip())
    return {"url": os.environ["WAREHOUSE_URL"]}
