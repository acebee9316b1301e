# Every target is a thin line over commands that a person can type. Windows users: see README.md.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# For make trust: two processes with one thread each are faster than one with two threads.
PROCESSES ?= 2

.NOTPARALLEL:  # later lines read what earlier ones write
.PHONY: demo q1 q2 trust train gallery live report submission verify test test-fast lint clean help

help:                         ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

demo: $(VENV)/.ready          ## built-in images and posts: train, evaluate, explain, report (no download)
	$(PY) q1_gradcam/train.py --dataset shapes
	$(PY) q1_gradcam/evaluate.py --model outputs/demo/q1_gradcam/model.pt
	$(PY) q1_gradcam/explain.py --model outputs/demo/q1_gradcam/model.pt
	$(PY) q2_lime/explain.py --checkpoint outputs/demo/q1_gradcam/model.pt --per-class 3 \
		--out outputs/demo/q2_lime/classifier
	$(PY) q2_lime/train_text.py --dataset corpus
	$(PY) q2_lime/explain_text.py --models outputs/demo/q2_lime/text
	$(PY) report/build.py --demo
	$(PY) report/gallery.py --demo

q1: $(VENV)/.ready            ## Question 1: evaluate the committed network, explain it with Grad-CAM
	$(PY) q1_gradcam/evaluate.py
	$(PY) q1_gradcam/explain.py

q2: $(VENV)/.ready            ## Question 2: LIME on an ImageNet model and on the committed text models
	$(PY) q2_lime/explain.py
	$(PY) q2_lime/explain_text.py

trust: $(VENV)/.ready         ## score every explainer against baselines; compare Grad-CAM with LIME
	OMP_NUM_THREADS=1 $(VENV)/bin/torchrun --nproc-per-node $(PROCESSES) evaluation/run.py
	$(PY) evaluation/compare.py

gallery: $(VENV)/.ready       ## every explanation on one page, outputs/index.html
	$(PY) report/gallery.py

live: $(VENV)/.ready          ## explain an image in the browser, outputs/live.html
	$(PY) report/live/build.py

report: q1 q2 trust gallery   ## run q1, q2 and trust again, then build report/report.pdf
	$(PY) report/update_readme.py
	$(PY) report/build.py

train: $(VENV)/.ready         ## train on CIFAR-10 from scratch; run again to resume after an interruption
	$(PY) q1_gradcam/train.py --resume

submission:                   ## submission.zip: everything that git tracks at the last commit
	git archive --format=zip --prefix=submission/ --output=submission.zip HEAD

verify: $(VENV)/.ready        ## rerun evaluation and explanations and compare with outputs/
	$(PY) report/verify.py outputs/q1_gradcam/evaluation.json outputs/q1_gradcam/explanations.json \
		outputs/q2_lime/images/explanations.json outputs/q2_lime/text/explanations.json

test: $(VENV)/.ready-test     ## all tests; those that need real data are skipped if data/ is empty
	$(PY) -m pytest

test-fast: $(VENV)/.ready-test  ## the tests without real data, in a minute
	$(PY) -m pytest -m "not slow"

lint: $(VENV)/.ready-test     ## ruff: style, imports, line length
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	! LC_ALL=C.UTF-8 grep -nE '^.{101}' report/*.typ report/chapters/*.typ

$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -q --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-test: requirements-test.txt $(VENV)/.ready
	$(PY) -m pip install -q --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:                        ## remove the environment and half-finished files; results and data stay
	rm -rf $(VENV) *.egg-info
	find outputs -name '*.state.pt' -delete
