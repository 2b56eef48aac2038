# Needed beforehand: make, a POSIX shell and Python 3.11, 3.12 or 3.13. `make help` lists the targets.

# To change on the command line, for example: make train CONFIG=experiments/digits/nf_resnet.py WORKDIR=runs/seed1 ARGS=--config.seed=1
CONFIG  = experiments/digits/nf_resnet.py
# A folder for each config, so that no run resumes from another one's checkpoints.
WORKDIR = runs/$(subst /,_,$(patsubst experiments/%.py,%,$(CONFIG)))
ARGS    =
STUDY   =
EXTRAS  = dev
VENV    = .venv
# The interpreter that the environment is made with; empty takes the first suitable one of these.
PYTHON ?=
PYTHONS = $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

BIN = $(VENV)/bin
# Written last by a finished setup; a stamp for each set of extras.
STAMP = $(VENV)/.ready-$(EXTRAS)
# There from before the environment's first file until its last.
UNFINISHED = $(VENV)/.unfinished

.PHONY: help setup train test claims lint lock clean new-environment FORCE

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | \
	while IFS='|' read -r name text; do printf '  make %-6s  %s\n' "$$name" "$$text"; done

setup: $(STAMP)  ## make the environment .venv with the versions in constraints.txt
	@wanted="$(PYTHON)"; made=$$($(BIN)/python -c "$$PRINT_VERSION"); \
	if [ -n "$$wanted" ] && [ "$$($$wanted -c "$$PRINT_VERSION")" != "$$made" ]; then \
	    echo "$(VENV) holds Python $$made, not that of PYTHON=$$wanted." >&2; \
	    echo "Run 'make clean' first, or keep both with another folder: make PYTHON=$$wanted VENV=.venv-other ..." >&2; \
	    exit 1; \
	fi; \
	echo "Environment $(VENV) is ready: Python $$made"

train: setup  ## train CONFIG to the end, into WORKDIR
	$(BIN)/python -m nfnets_jax.train --config=$(CONFIG) --workdir=$(WORKDIR) $(ARGS)

test: setup  ## run the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

claims: setup  ## check the claims of STUDY, or of all studies, each with its tolerance
	$(BIN)/python -m experiments.claims $(STUDY)

lint: setup  ## check the code's style
	$(BIN)/python -m ruff check .

lock:  ## bring constraints.txt to the newest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory new-environment VENV=.venv-lock
	.venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	    --extra cuda13 --extra tpu --extra ray --extra dev \
	    --no-annotate --custom-compile-command 'make lock' pyproject.toml -o constraints.txt
	@rm -rf .venv-lock

clean:  ## remove the environment, caches and builds; runs/ stays
	rm -rf $(VENV) .venv-lock build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A finished environment is updated in place. One that was left half made is made anew, because pip takes
# a half-copied package for an installed one.
$(STAMP): pyproject.toml setup.py constraints.txt
	@rm -f $(VENV)/.ready-*
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory new-environment; \
	fi
	@touch $(UNFINISHED)
	$(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]'
	@rm $(UNFINISHED)
	@touch $@

# A stamp says nothing when the interpreter behind it was moved or removed since.
ifneq ($(shell $(BIN)/python -c 'print("starts")' 2>/dev/null),starts)
$(STAMP): FORCE
endif

new-environment:
	@for python in $(PYTHONS); do \
	    problem=$$($$python -c "$$PRINT_PROBLEM" 2>/dev/null) || problem="not found, or does not start"; \
	    if [ -z "$$problem" ]; then \
	        echo "Making $(VENV) with $$python: Python $$($$python -c "$$PRINT_VERSION")"; \
	        rm -rf $(VENV) && mkdir -p $(VENV) && touch $(UNFINISHED) && exec $$python -m venv $(VENV); \
	        exit 1; \
	    fi; \
	    echo "Not usable: $$python ($$problem)" >&2; \
	done; \
	echo "nfnets_jax needs Python 3.11, 3.12 or 3.13; name one, for example: make PYTHON=python3.12 setup" >&2; \
	exit 1

define PRINT_VERSION
import sys
print("%d.%d.%d" % sys.version_info[:3])
endef

# Kept to what any Python can parse, so that an old one says its version instead of a syntax error.
define PRINT_PROBLEM
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    print("is Python %d.%d" % sys.version_info[:2])
else:
    try:
        import ensurepip, venv
    except ImportError:
        print("lacks the venv and ensurepip modules; on Debian and Ubuntu: apt install python3-venv")
endef

export PRINT_VERSION PRINT_PROBLEM
