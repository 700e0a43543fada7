"""The Django project of the hub: settings, URLs, the web server and the supervisor."""
