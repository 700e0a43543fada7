"""The addresses of the sockets."""

from django.urls import path

from apps.federation.consumers import EventsConsumer

websocket_urlpatterns = [path("ws/events/", EventsConsumer.as_asgi())]
