"""The addresses of the page that analyses a scan."""

from django.urls import path

from apps.analyse import views

urlpatterns = [
    path("analyse/", views.page, name="analyse"),
    path("analyse/model", views.model, name="analyse-model"),
    path("analyse/readings", views.ask_hub, name="analyse-ask"),
    path("analyse/readings/<uuid:reading_id>", views.answer, name="analyse-answer"),
    path("analyse/files/<slug:digest>", views.file, name="analyse-file"),
]
