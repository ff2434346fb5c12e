"""Signing in, where the server's secrets ask for it (docs/deploy.md); elsewhere everybody sees everything."""

import importlib.util
from collections.abc import Mapping

import streamlit as st
from streamlit.errors import StreamlitAuthError, StreamlitSecretNotFoundError

from neurocarto.dashboard import texts, widgets

_AUTH, _ACCESS, _DEFAULT = "auth", "access", "default"
_OPTIONS = {"client_kwargs"}
"""Tables of [auth] that are no provider."""


def granted() -> bool:
    """Return whether this session may see the app: no sign-in is asked for, or the visitor has signed in and may.

    Secrets that cannot be read grant nothing: they may ask for it.
    """
    if not _asked_for():
        return True
    return _is_signed_in() and _is_welcome()


def sign_in() -> None:
    """Show how to sign in, or why that is not possible, in place of the app."""
    st.title("NeuroCartography")
    try:
        auth = st.secrets[_AUTH]
    except StreamlitSecretNotFoundError:
        auth = None
    if not isinstance(auth, Mapping):
        widgets.notice(texts.SECRETS_UNREADABLE)
        return
    if importlib.util.find_spec("authlib") is None:
        widgets.notice(texts.SIGN_IN_UNINSTALLED)
        return
    if _is_signed_in():
        widgets.notice(texts.not_welcome(_email()))
        st.button("Sign out", key="nc_sign_out", on_click=st.logout)
        return
    providers = _providers(auth)
    if not providers:
        widgets.notice(texts.sign_in_misconfigured("[auth] names no provider (client_id)."))
        return
    st.markdown(texts.SIGN_IN)
    for provider in providers:
        label = "Sign in" if provider == _DEFAULT else f"Sign in with {provider.capitalize()}"
        if st.button(label, key=f"nc_sign_in_{provider}", type="primary"):
            _log_in(provider)


def sign_out() -> None:
    """Show who is signed in and let them sign out; nothing where nobody has to sign in."""
    if _asked_for():
        who, out = st.columns([3, 1], vertical_alignment="center")
        with who:
            widgets.notice(texts.signed_in(_email()))
        out.button("Sign out", key="nc_sign_out", on_click=st.logout, width="stretch")


def _asked_for() -> bool:
    try:
        return _AUTH in st.secrets
    except StreamlitSecretNotFoundError as error:
        return error.error_id != "no-secrets-found"


def _is_signed_in() -> bool:
    return bool(st.user.get("is_logged_in"))


def _is_welcome() -> bool:
    """Whether the visitor is among those whom the secrets name: addresses, or all of a domain as `@example.org`."""
    emails = st.secrets.get(_ACCESS, {}).get("emails")
    if emails is None:
        return True
    if st.user.get("email_verified") is False:
        return False
    email = _email().casefold()
    allowed = [entry.strip().casefold() for entry in ([emails] if isinstance(emails, str) else emails)]
    return bool(email) and (email in allowed or f"@{email.rpartition('@')[2]}" in allowed)


def _email() -> str:
    return str(st.user.get("email") or "")


def _providers(auth: Mapping[str, object]) -> list[str]:
    """The names that st.login knows the providers by: that of [auth] itself, then each [auth.NAME]."""
    named = [name for name, value in auth.items() if isinstance(value, Mapping) and name not in _OPTIONS]
    return [_DEFAULT] * ("client_id" in auth) + [name for name in named if name != _DEFAULT or "client_id" not in auth]


def _log_in(provider: str) -> None:
    try:
        st.login(None if provider == _DEFAULT else provider)
    except StreamlitAuthError as error:
        widgets.notice(texts.sign_in_misconfigured(str(error)))
