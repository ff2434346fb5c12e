"""Records in; Plotly figures, pyvis network data and galleries out. No Streamlit here."""
