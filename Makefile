.PHONY: run check lint test demo

run: ## open the app on the demo
	streamlit run app.py

check: lint test ## everything that must hold before a commit

lint:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test:
	pytest

demo: ## rebuild data/demo from Debian's Tux Paint stamps
	python -m scripts.make_demo
