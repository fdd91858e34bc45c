# make book    run the experiment notebook on the demo data, build the book strictly
# make test    lint, format check and the tests; of large products a part
# make all-combinations  the rest: every system, shape and rate, and what is slow
# make drift   make a few published demo runs again and compare
# make check   read the built book in Chromium, headless
# make links   follow every link that leaves the book
# They need Python 3.11 or newer and nothing else (check: Chromium; links: a network);
# PYTHON=... chooses which.

VENV := .venv
BIN := $(VENV)/bin
# The checksum makes other requirements another stamp, whatever the files' dates.
STAMP := $(VENV)/.installed-$(shell cat requirements.txt pyproject.toml | cksum | cut -d' ' -f1)
# Test workers; two is what the smallest supported machine has.
WORKERS := 2
LIBRARY := msa tests

export PYTHON
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Models come from installed wheels or local folders, and pages show no progress bars.
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export TQDM_DISABLE := 1
unexport PYTHONPATH PYTHONHOME

.PHONY: help env book test all-combinations drift check links format picture clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

env: $(STAMP)

$(STAMP):
	@sh .ci/setup.sh $(VENV) $(STAMP)

# A clean tree each time: an incremental build can show numbers of older results.
book: $(STAMP)
	rm -rf _build
	@sh .ci/space.sh 200
	$(BIN)/python -m msa notebook run book/experiments/train.md
	$(BIN)/jupyter-book build . -W -n --keep-going
	@echo
	@echo "The book is built. Open file://$(CURDIR)/_build/html/index.html"

test: $(STAMP)
	$(BIN)/python -m ruff check $(LIBRARY)
	$(BIN)/python -m ruff format --check $(LIBRARY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not exhaustive"

all-combinations: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m exhaustive

# What readers get: loading, search, tables, downloads, formulas, contrast, numbers.
check: $(STAMP)
	MSA_BOOK=_build/html $(BIN)/python -m pytest tests/test_browser.py

# In a folder of its own: this builder would write over the pages of the book.
links: $(STAMP)
	$(BIN)/jupyter-book build . --builder linkcheck --path-output _build/links

drift: $(STAMP)
	$(BIN)/python -m msa study verify demo --runs 3

format: $(STAMP)
	$(BIN)/python -m ruff check --fix $(LIBRARY)
	$(BIN)/python -m ruff format $(LIBRARY)

# The picture in README.md, drawn from results/.
picture: $(STAMP)
	$(BIN)/python -c "from pathlib import Path; \
	    from msa.report.figures import front_picture; \
	    print(front_picture().save(Path('book/_static')))"

clean:
	rm -rf _build build
