"""Who sees what, with and without sign-in in the server's secrets."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.errors import StreamlitAuthError
from streamlit.testing.v1 import AppTest

from dashboard.conftest import ROOT, Visit
from neurocarto.dashboard import access
from neurocarto.dashboard.policy import VIEW_ONLY, view_only

PROVIDER = {"client_id": "x", "client_secret": "x", "server_metadata_url": "https://login.example/.well-known"}
SHARED = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "0123456789abcdef"}
Secret = Callable[..., AppTest]


@pytest.fixture
def secret(only_planted: Path, monkeypatch: pytest.MonkeyPatch) -> Secret:
    """Open the app on a server with some secrets, as somebody."""

    def open_app(secrets: dict[str, object], page: str = "", **user: object) -> AppTest:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        app.secrets.update(secrets)
        monkeypatch.setattr(st, "user", {"is_logged_in": False, **user})
        if page:
            app.switch_page(f"pages/{page}.py")
        return app.run()

    return open_app


def shows_the_run(app: AppTest) -> bool:
    return bool(app.selectbox)


def notices(app: AppTest) -> str:
    return " ".join(str(element.proto.body) for element in app.get("html"))


def test_without_secrets_everybody_sees_the_run_and_nothing_of_signing_in(visit: Visit) -> None:
    app = visit("about", run="planted")
    assert shows_the_run(app)
    assert not [button for button in app.button if "ign" in button.label]


def test_other_secrets_change_nothing(secret: Secret) -> None:
    assert shows_the_run(secret({"token": "x", "connections": {"a": "b"}}))


@pytest.mark.parametrize("page", ["", "quality", "study", "about"])
def test_with_sign_in_nothing_shows_before(secret: Secret, page: str) -> None:
    app = secret({"auth": {**SHARED, **PROVIDER}}, page)
    assert not app.exception
    assert not shows_the_run(app)
    assert [button.label for button in app.button] == ["Sign in"]
    assert "Sign in to go on" in app.markdown[0].value


def test_each_provider_has_its_button(secret: Secret) -> None:
    app = secret({"auth": {**SHARED, "google": PROVIDER, "okta": PROVIDER, "client_kwargs": {"prompt": "login"}}})
    assert [button.label for button in app.button] == ["Sign in with Google", "Sign in with Okta"]


def test_the_button_starts_signing_in_with_its_provider(secret: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    monkeypatch.setattr(st, "login", asked.append)
    secret({"auth": {**SHARED, **PROVIDER}}).button[0].click().run()
    secret({"auth": {**SHARED, "google": PROVIDER}}).button[0].click().run()
    assert asked == [None, "google"]


def test_who_has_signed_in_sees_the_run_and_may_leave(secret: Secret) -> None:
    app = secret({"auth": {**SHARED, **PROVIDER}}, "about", is_logged_in=True, email="ada@example.org")
    assert shows_the_run(app)
    assert "Signed in as ada@example.org" in notices(app)
    assert app.button(key="nc_sign_out")


@pytest.mark.parametrize(
    ("user", "emails", "welcome"),
    [
        ({"email": "ada@example.org"}, ["ada@example.org"], True),
        ({"email": "Ada@Example.org"}, "ada@example.org", True),
        ({"email": "ada@example.org"}, ["@example.org"], True),
        ({"email": "ada@example.org"}, [], False),
        ({"email": "ada@example.org.evil.net"}, ["@example.org"], False),
        ({"email": "ada@example.org@evil.net"}, ["@example.org"], False),
        ({"email": "ada@example.org", "email_verified": False}, ["ada@example.org"], False),
        ({"email": ""}, ["@"], False),
        ({}, ["ada@example.org"], False),
    ],
)
def test_only_those_whom_the_secrets_name_are_let_in(
    secret: Secret, user: dict[str, object], emails: object, welcome: bool
) -> None:
    app = secret({"auth": {**SHARED, **PROVIDER}, "access": {"emails": emails}}, is_logged_in=True, **user)
    assert not app.exception
    assert shows_the_run(app) == welcome
    if not welcome:
        assert "not among those" in notices(app)
        assert app.button(key="nc_sign_out")


def test_sign_in_without_its_packages_shows_nothing_and_says_why(
    secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = secret({"auth": {**SHARED, **PROVIDER}})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "authlib" else name)
    app.run()
    assert not shows_the_run(app)
    assert "requirements-auth.txt" in notices(app)


@pytest.mark.parametrize("auth", [{}, {**SHARED}, "on"])
def test_sign_in_without_a_provider_shows_nothing_and_says_why(secret: Secret, auth: object) -> None:
    app = secret({"auth": auth})
    assert not app.exception
    assert not shows_the_run(app)
    assert not app.button
    assert "provider" in notices(app) or "secrets cannot be read" in notices(app)


def test_a_wrong_setting_is_said_when_signing_in(secret: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str | None) -> None:
        raise StreamlitAuthError("missing the\n  'redirect_uri' key")

    monkeypatch.setattr(st, "login", refuse)
    app = secret({"auth": PROVIDER}).button[0].click().run()
    assert not app.exception
    assert "missing the &#x27;redirect_uri&#x27; key" in notices(app)


def test_secrets_that_cannot_be_read_show_nothing(
    tmp_path: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(dict[str, object]):
        def __contains__(self, key: object) -> bool:
            raise access.StreamlitSecretNotFoundError("bad", error_id="failed-parsing-secrets-file")

        def __getitem__(self, key: str) -> object:
            raise access.StreamlitSecretNotFoundError("bad", error_id="failed-parsing-secrets-file")

    monkeypatch.setattr(st, "secrets", Broken())
    app = visit()
    assert not app.exception
    assert not shows_the_run(app)
    assert "secrets cannot be read" in notices(app)


@pytest.mark.parametrize(("value", "only"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_looking_only_is_what_the_environment_says(
    value: str | None, only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VIEW_ONLY, raising=False)
    if value is not None:
        monkeypatch.setenv(VIEW_ONLY, value)
    assert view_only() is only
