"""Django's settings for django-post_office, as its documentation gives them; nothing is tuned.

Read by the peer's own virtual environment (tests/faults/peer.py), never by this project's.
"""

import os

SECRET_KEY = "only for this measurement"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["PEER_DB"]}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "post_office"]
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates"},
    {"BACKEND": "post_office.template.backends.post_office.PostOfficeTemplates"},
]
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["PEER_PORT"])
POST_OFFICE = {"BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
