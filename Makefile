# Every target is a thin line over commands that a person can type. Windows users: see README.md.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: demo q1 train test lint clean

demo: $(VENV)/.ready          ## built-in pictures: train, evaluate, explain; no download, a few minutes
	$(PY) q1_gradcam/train.py --dataset shapes
	$(PY) q1_gradcam/evaluate.py --model outputs/demo/q1_gradcam/model.pt
	$(PY) q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt

q1: $(VENV)/.ready            ## CIFAR-10: evaluate the committed network and explain it
	$(PY) q1_gradcam/evaluate.py
	$(PY) q1_gradcam/explain.py

train: $(VENV)/.ready         ## CIFAR-10: train from scratch; `make train` again goes on after an interruption
	$(PY) q1_gradcam/train.py --resume

test: $(VENV)/.ready-test     ## all tests; those on real data are skipped where data/ is empty
	$(PY) -m pytest

lint: $(VENV)/.ready-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-test: requirements-test.txt $(VENV)/.ready
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:                        ## the environment and half-finished files; results and data stay
	rm -rf $(VENV) *.egg-info
	find outputs -name '*.state.pt' -delete
