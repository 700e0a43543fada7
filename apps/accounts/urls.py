"""Signing in and out, the own account, links that set a password, and everybody's accounts for administrators."""

from django.urls import path

from apps.accounts.views import account, links, people, second_factor, sign_in

app_name = "accounts"
urlpatterns = [
    path("accounts/login/", sign_in.LoginView.as_view(), name="login"),
    path("accounts/code/", sign_in.CodeView.as_view(), name="login-code"),
    path("accounts/logout/", sign_in.LogoutView.as_view(), name="logout"),
    path("first-admin/", links.first_admin, name="first-admin"),
    path("password/", links.password, name="password-link"),
    path("account/", account.account, name="account"),
    path("account/password", account.new_password, name="account-password"),
    path("account/session", account.session, name="account-session"),
    path("account/second-factor/", second_factor.page, name="second-factor"),
    path("account/second-factor/codes", second_factor.renew_codes, name="second-factor-codes"),
    path("account/second-factor/off", second_factor.turn_off, name="second-factor-off"),
    path("account/tokens/<int:pk>/revoke", account.revoke_token, name="token-revoke"),
    path("people/", people.people, name="people"),
    path("people/add", people.add_person, name="person-add"),
    path("people/<int:pk>/", people.person_page, name="person"),
    path("people/<int:pk>/change", people.change_person, name="person-change"),
    path("people/<int:pk>/link", people.issue_link, name="person-link"),
    path("people/<int:pk>/<slug:verb>", people.act_on_person, name="person-act"),
]
