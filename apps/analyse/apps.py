from django.apps import AppConfig


class AnalyseConfig(AppConfig):
    """A doctor has one scan read by the current version, in the browser."""

    name = "apps.analyse"
    label = "analyse"
