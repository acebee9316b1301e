# Every target is a thin line over commands that a person can type. Windows users: see README.md.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.NOTPARALLEL:  # later lines read what earlier ones write
.PHONY: demo q1 q2 trust train gallery report test lint clean

demo: $(VENV)/.ready          ## built-in pictures and posts: train, evaluate, explain, a short report; no download, a few minutes
	$(PY) q1_gradcam/train.py --dataset shapes
	$(PY) q1_gradcam/evaluate.py --model outputs/demo/q1_gradcam/model.pt
	$(PY) q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt
	$(PY) q2_lime/explain.py --checkpoint outputs/demo/q1_gradcam/model.pt --per-class 3 --out outputs/demo/q2_lime/classifier
	$(PY) q2_lime/train_text.py --dataset corpus
	$(PY) q2_lime/explain_text.py --models outputs/demo/q2_lime/text
	$(PY) report/build.py --demo
	$(PY) report/gallery.py --demo

q1: $(VENV)/.ready            ## CIFAR-10: evaluate the committed network and explain it
	$(PY) q1_gradcam/evaluate.py
	$(PY) q1_gradcam/explain.py

q2: $(VENV)/.ready            ## LIME on an ImageNet model's view of CIFAR-10, and on the committed models of 20newsgroups
	$(PY) q2_lime/explain.py
	$(PY) q2_lime/explain_text.py

trust: $(VENV)/.ready         ## how far the explanations can be trusted, beside controls; Grad-CAM against LIME
	$(PY) evaluation/gradcam_trust.py
	$(PY) evaluation/lime_trust.py
	$(PY) evaluation/compare.py

report: q1 q2 trust gallery   ## report/report.pdf from the results, which are made again first; refuses where a claim no longer holds
	$(PY) report/glance.py
	$(PY) report/build.py

train: $(VENV)/.ready         ## CIFAR-10: train from scratch; `make train` again goes on after an interruption
	$(PY) q1_gradcam/train.py --resume

gallery: $(VENV)/.ready       ## every explanation on one page, outputs/index.html, from the results of q1 and q2
	$(PY) report/gallery.py

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
