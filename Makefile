.PHONY: run check lint test demo bench bench-views bench-deployment quality

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

bench: ## measure extraction (on NEUROCARTO_SAMPLE_IMAGES) and clustering beside other ways; the results go to docs/performance.md
	python -m benchmarks.extraction
	python -m benchmarks.image_counts
	python -m benchmarks.clustering
	python -m benchmarks.whole_run

bench-views: ## measure the app in Chromium; the results go to docs/performance.md
	PYTHONPATH=tests python -m benchmarks.views
	PYTHONPATH=tests python -m benchmarks.beside_a_job

bench-deployment: ## measure the app for looking only in an environment of its own; the results go to docs/performance.md
	PYTHONPATH=tests python -m benchmarks.deployment

quality: ## measure ways of clustering on NEUROCARTO_SAMPLE_IMAGES; the results go to docs/quality.md
	python -m scripts.quality
