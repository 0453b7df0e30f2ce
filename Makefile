# Every target is phony and one line: Python decides what is stale, by content. `make` alone prints help.
PYTHON ?= python3
PRESET ?= $(or $(CORPUS),$(if $(IEMOCAP),iemocap),pocket)
BOOK = .venv/bin/python -m mtlser_book
RELIABILITY = RELIABILITY="book/results/$${MTLSER_CONTRIBUTOR:-maintainers}/reliability"

# Options travel as environment variables, so that a path with spaces needs no quoting here.
# A value is taken as it was typed: a dollar sign in it is no variable.
export MTLSER_PRESET := $(PRESET)
export MTLSER_RELEASE := $(or $(value FOLDER),$(value IEMOCAP))
export MTLSER_ALLOW_DIFFERENT := $(value ALLOW_DIFFERENT)
export MTLSER_ACCEPT_LICENCE := $(value ACCEPT_LICENCE)
export MTLSER_BACKBONE := $(value BACKBONE)
export MTLSER_EXPERIMENT := $(value EXPERIMENT)
export MTLSER_PROTOCOL := $(value PROTOCOL)
export MTLSER_POOLING := $(value POOLING)
export MTLSER_LEARNING_RATE := $(value LEARNING_RATE)
export MTLSER_SEEDS := $(value SEEDS)
export MTLSER_ALPHAS := $(value ALPHAS)
export MTLSER_FOLDS := $(value FOLDS)
export MTLSER_EPOCHS := $(value EPOCHS)
export MTLSER_PRECISION := $(value PRECISION)
export MTLSER_DEVICE := $(value DEVICE)
export MTLSER_FRESH := $(value FRESH)
export MTLSER_ENGINE := $(value ENGINE)
export MTLSER_WORKERS := $(value WORKERS)
export MTLSER_TORCH := $(value TORCH)
export MTLSER_WHEELHOUSE := $(value WHEELHOUSE)
export MTLSER_CONTRIBUTOR := $(value CONTRIBUTOR)

OPTIONS = PRESET CORPUS FOLDER IEMOCAP ALLOW_DIFFERENT ACCEPT_LICENCE BACKBONE EXPERIMENT PROTOCOL POOLING LEARNING_RATE SEEDS ALPHAS FOLDS \
    EPOCHS PRECISION DEVICE CORPORA FRESH ENGINE WORKERS TORCH WHEELHOUSE CONTRIBUTOR ARGS PYTHON BOOK
TYPED := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
UNKNOWN := $(filter-out $(OPTIONS) MAKEFLAGS MAKEOVERRIDES -%,$(TYPED))
$(if $(UNKNOWN),$(error $(UNKNOWN) is not known; the options are $(OPTIONS)))

.PHONY: help setup reproduce plan book workshop wheelhouse test bench faults test-cluster test-gpu gpu lint serve clean
help: ; @sed -n 's/^\([a-z-]*\):[^#]*## */  make \1@/p; s/^#   //p' Makefile | tr '@' '\t' | expand -t 22
setup: ; @"$(PYTHON)" src/mtlser_book/bootstrap.py ## make .venv and install the tested packages into it
reproduce: setup ; @$(BOOK) reproduce ## complete the missing runs of Table 4, then render the book into build/html
plan: setup ; @.venv/bin/python -m mtlser plan $(ARGS) ## what reproduce would do: runs done, missing, failed; time, memory and disk; ARGS=--watch for a live table
book: setup ; @$(BOOK) book ## render the book from the records there are; train nothing
workshop: ; @"$(PYTHON)" src/mtlser_book/bootstrap.py workshop $(ARGS) ## open the labs in JupyterLab, in artifacts/workshop; install it on first use
wheelhouse: setup ; @$(BOOK) wheelhouse ## collect every package in artifacts/wheelhouse, for installing without a network
test: setup ; @.venv/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS) ## run the test suite
bench: setup ; @.venv/bin/python -m mtlser bench $(ARGS) ## measure speed and memory, about a quarter of an hour; ARGS="loader --again" for one
faults: setup ; @$(RELIABILITY) .venv/bin/python -m pytest -m faults -n 2 $(ARGS) ## end calls at a hundred points, damage corpora in every way: about an hour; a record that the book shows
test-cluster: setup ; @$(RELIABILITY) .venv/bin/python -m pytest -m cluster $(ARGS) ## ENGINE=slurm against a real Slurm, which it starts; without one reported as not run
test-gpu: setup ; @.venv/bin/python -m pytest -m gpu $(ARGS) ## what must hold on a GPU, beside the CPU; without CUDA reported as not run
gpu: setup ; @PYTHON=.venv/bin/python bash .ci/gpu ## the first hour on a GPU: tests, speed, memory, runs; DEVICE=cpu tries it in minutes, on tiny shapes
lint: setup ; @.venv/bin/ruff check . && .venv/bin/nbstripout --verify book/*.ipynb book/*/*.ipynb workshop/*.ipynb ## check style, and that notebooks are committed without outputs
serve: setup ; @$(BOOK) serve ## show build/html at http://127.0.0.1:8000
clean: ; @rm -rf build ## remove build/; artifacts/ (corpora, runs, models) and .venv stay
# options:
#
#   options, for example `make reproduce IEMOCAP=~/IEMOCAP_full_release`:
#     CORPUS=nemo         people: nemo, emodb, ravdess, crema-d (`python -m mtlser corpora` lists them), or own: FOLDER=
#     FOLDER=             where the corpus lies; for CORPUS=own a folder with audio and metadata.csv
#     ACCEPT_LICENCE=1    fetch CORPUS= from its official source, whose licence is shown without this
#     IEMOCAP=            the paper's experiment: folder of the IEMOCAP release
#     PRESET=pocket       a bundle by name: pocket (synthetic corpus, minutes), iemocap, a corpus, or smoke (a test)
#     EXPERIMENT=table4   table4, changes, variants, cues, seeds, learning-rate, random, text, released, session, equal-rate, controls, first-look, grid, gate, all
#     ALLOW_DIFFERENT=1   use a copy that differs from the known corpus; every result then says so
#     BACKBONE=           another backbone: a name that `python -m mtlser backbones` lists, or a local folder of one
#     ALPHAS=  FOLDS=     only these, comma-separated: ALPHAS=0,0.1 FOLDS=Ses01F,Ses01M (labelled partial)
#     EPOCHS=  LEARNING_RATE=  SEEDS=  PROTOCOL=  POOLING=    instead of the preset's; another experiment, shown as that
#     PRECISION=fp32      for GPUs and CPUs that compute no bfloat16 themselves; the iemocap preset has bf16
#     DEVICE=cpu          train on the CPU although there is a GPU; the pocket preset does (any: on the GPU)
#     FRESH=1             train here also what records in book/results already hold
#     ENGINE=             where missing runs execute: empty is this machine; slurm submits them to a cluster
#     WORKERS=            how many runs at once: empty is one for each GPU, or else for each core; more share the GPUs
#     TORCH=cpu           install PyTorch's CPU build, about 200 MB instead of about 3 GB on Linux
#     WHEELHOUSE=         install from this folder, made by `make wheelhouse`, without any network
#     PYTHON=python3      the Python that makes .venv: 3.11, 3.12 or 3.13
