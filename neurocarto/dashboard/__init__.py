"""The Streamlit code of the package."""
