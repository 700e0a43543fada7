"""Signing in and out, and the first administrator's page."""

from django.urls import path

from apps.accounts import views

app_name = "accounts"
urlpatterns = [
    path("accounts/login/", views.LoginView.as_view(), name="login"),
    path("accounts/logout/", views.LogoutView.as_view(), name="logout"),
    path("first-admin/<str:token>", views.first_admin, name="first-admin"),
]
