"""A module of the application that does much when it is imported."""

import atexit
import logging
import os
import threading
import warnings
from logging.config import dictConfig

dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": True,
        "handlers": {"null": {"class": "logging.NullHandler"}},
        "root": {"level": "CRITICAL", "handlers": ["null"]},
    }
)
logging.captureWarnings(True)
warnings.simplefilter("ignore")
os.environ.setdefault("SHOP_LOADED", "1")
atexit.register(lambda: None)

ready = threading.Event()
threading.Thread(target=ready.set, daemon=True).start()
ready.wait()
