# The menu: `make help`. Linux x86-64, Python 3.10 to 3.13.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

DATASET    ?= synthetic#   which data set: synthetic sysu regdb llcm hitsz_vcm buptcampus market_sketch_1k pku_sketch custom
METHOD     ?=#             which method: dns (by default), agw, caj, deen or baseline
DATA_ROOT  ?= Dataset#     folder that holds the raw data sets
BETON_ROOT ?= Beton#       folder for .beton files
ALLOW_INCOMPLETE ?=#      1: go on with a data set that lacks a camera, a modality, or a tenth of its images
RESUME     ?= auto#        auto goes on with a stopped run; never renames its folder and starts again
TRIAL      ?=#             which of RegDB's ten splits; by default all, one after another
JOBS       ?=#             so many trials or seeds side by side, each on a GPU or a share of the cores
RANKS      ?=#             train (or test) one network on so many devices together, by torchrun
CHECKPOINT ?=#             what `make export`, `make eval`, `make report` and `make demo` take; by default best.pt of the run
RUNS       ?=#             run folders that `make report` sets side by side, as in RUNS='runs/a runs/b'
FEATURES   ?=#             files of features that `make judge` ranks, as in FEATURES='a.npz b.mat'
PROTOCOL   ?=#             what they report, with commas; by default those of the recipe
INDEX      ?= Index#       folder of the index that `make index` writes and `make search` and `make serve` read
BOXES      ?=#             boxes of people for `make index`: .csv, .txt (MOT), .json (COCO); FRAMES: folder of their images
FRAMES     ?=#             the folder of the images that BOXES or CALIBRATE are in
IMAGES     ?=#             folder of cropped images for `make index`, one person each
EMBEDDINGS ?=#             embeddings for `make index` that were made elsewhere, as in EMBEDDINGS=a.npz
CALIBRATE  ?=#             labelled boxes in FRAMES, from which `make index` learns how similar strangers are
QUERY      ?=#             an image of a person, for `make search`
MODALITY   ?=#             that of QUERY: visible, infrared or sketch; for `make index`, of all rows where BOXES names none
CAMERAS    ?=#             which cameras `make search` searches, as in CAMERAS=1,4; all by default
SINCE      ?=#             from when, as in SINCE=2026-03-02T08:00 (UTC without a zone)
UNTIL      ?=#             until when
PAGE       ?= search.html# the page that `make search` writes
PARTS      ?=#             which parts `make benchmark-gpu` repeats
ARGS       ?=#             further options, as in ARGS='--optim.lr=0.1 --optim.epochs=3'
VENV       ?= .venv#       where Python packages go
SYSTEM_PACKAGES ?=#        1: a new VENV uses what PYTHON has installed, such as torch, and gets what it lacks
OLDER_CPUS ?= avx2 sse41#  newest instruction sets that `make test-older-cpu` allows, one run each
OLDER_THREADS ?= 1 2 4#    numbers of threads that it runs each with
# PYTHON: the interpreter that makes .venv; by default the first of these.
PYTHON     ?= $(shell for p in python3.12 python3.11 python3.13 python3.10 python3; do \
                $$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

# The recipes take these from the environment, as they were typed: a folder may be called O'Brien or US$.
PASSED_ON := DATASET METHOD DATA_ROOT BETON_ROOT RESUME TRIAL JOBS RANKS CHECKPOINT FEATURES PROTOCOL RUNS \
             INDEX BOXES FRAMES IMAGES EMBEDDINGS CALIBRATE QUERY MODALITY CAMERAS SINCE UNTIL PAGE
$(foreach name,$(PASSED_ON),$(if $(filter-out file,$(origin $(name))),$(eval override $(name) := $$(value $(name)))))
export $(PASSED_ON)

# VENV is the name of a rule as well, where these mean something to make or to the shell.
$(if $(filter-out 1,$(words $(VENV)))$(strip $(foreach sign,' $$ : ; = % | * ? [ ~ \ & < >,$(findstring $(sign),$(VENV)))),$(error VENV holds a blank or one of ' $$ : ; = % | * ? [ ~ \ & < >. Choose another folder))

# How many turns of a loop an OpenMP thread waits before it sleeps. With libgomp's default, 300,000, one other busy
# process on two cores makes a step of `make train` 11 to 22 times slower; with 30,000, 6 times; with 10,000, 3.5 times.
# Alone, 20,000 costs nothing that could be measured, 10,000 some 4 per cent. A user's own OMP_WAIT_POLICY counts more.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 20000
endif

SET = $${DATASET,,}# in small letters: LLCM is llcm
OWN_METHOD = $${METHOD,,}
# The recipe of DATASET: those of DNS lie in configs/, those of another METHOD in a folder of its name there.
RECIPE = configs/$(if $(filter-out dns DNS,$(METHOD)),$(OWN_METHOD)/)$(SET).yaml
INCOMPLETE := $(if $(filter-out 0 no false,$(ALLOW_INCOMPLETE)),--allow-incomplete)
RUN := $(VENV)/bin/python
READY := $(VENV)/.dns-ffcv-ready
PINNED := $(VENV)/constraints.txt
BENCH := $(VENV)/.dns-ffcv-bench
# READY and BENCH hold a digest of what VENV was made from. Times would not do: a copied VENV is as good as another, in a
# checkout of any date.
MADE_FROM := $(firstword $(shell cat pyproject.toml constraints.txt .ci/pins.py | sha256sum))
again_unless_made = $(if $(filter $(MADE_FROM),$(shell cat '$(1)' 2>/dev/null || true)),,again)

.PHONY: help train options plan eval report export judge index search serve convert-datasets setup synthesise data verify benchmark benchmark-gpu profile ablation no-method \
        demo test test-slow test-older-cpu check-cuda faults lint format clean again

##@ What everybody needs

# Signals that torchrun passes on to its ranks. Where nohup ignores SIGHUP, torchrun does too.
PASSED_SIGNALS = SIGTERM,SIGINT,SIGQUIT,SIGUSR1,SIGUSR2$$(trap -p HUP | grep -q . || echo ,SIGHUP)

# Ranks share the cores; torchrun would give each a single thread. A machine's own name may have no address: localhost has.
TORCHRUN = [[ "$$RANKS" =~ ^[1-9][0-9]*$$ ]] || { echo "error: RANKS=$$RANKS is no number of processes" >&2; exit 2; }; \
           OMP_NUM_THREADS="$${OMP_NUM_THREADS:-$$(n=$$(($$(nproc) / RANKS)); echo $$((n > 0 ? n : 1)))}" \
           '$(RUN)' -m torch.distributed.run --standalone --local-addr=localhost --nproc-per-node="$$RANKS" \
             --signals-to-handle="$(PASSED_SIGNALS)" $(TORCHRUN_ARGS)

# What `make train` and `make plan` hand to train_ffcv.py.
TRAINED = --config-file "$(RECIPE)" --data.beton_root="$$BETON_ROOT" --run.resume="$$RESUME" $(if $(TRIAL),--data.trial="$$TRIAL") $(if $(JOBS),--run.jobs="$$JOBS")

train: options data ## train METHOD on DATASET (synthetic people by default) by its recipe in configs/, and test it
	$(if $(RANKS),$(TORCHRUN),'$(RUN)') train_ffcv.py $(TRAINED) $(ARGS)

# A mistyped option stops here, before a first conversion, which may take long.
options: $(READY)
	@compgen -G "$$BETON_ROOT/$(SET)/*.beton" >/dev/null || '$(RUN)' -m dns.training.config $(TRAINED) $(ARGS) >/dev/null

# Each row has a recipe of its own, so that the one of METHOD is not named here.
ablation: $(if $(METHOD)$(filter-out file,$(origin RECIPE)),no-method,data) ## train DNS without each of its parts on DATASET (configs/ablation.yaml), and set them side by side; JOBS=2
	'$(RUN)' -m dns.ablation --dataset "$(SET)" --data.beton_root="$$BETON_ROOT" --run.resume="$$RESUME" $(if $(TRIAL),--data.trial="$$TRIAL") $(if $(JOBS),--run.jobs="$$JOBS") $(ARGS)

no-method:
	@echo 'error: make ablation takes no METHOD and no RECIPE: rows name theirs (configs/ablation.yaml)' >&2; exit 2

plan: $(READY) ## what `make train` would do with the converted DATASET, and how long; changes nothing
	$(if $(RANKS),$(TORCHRUN),'$(RUN)') train_ffcv.py $(TRAINED) --run.dry=true $(ARGS)

# A checkpoint of ours knows its data set: DATASET counts beside CHECKPOINT only where it was given.
TESTED = $(if $(CHECKPOINT),--eval.checkpoint="$$CHECKPOINT") $(if $(METHOD),--model.method="$(OWN_METHOD)") $(if $(CHECKPOINT),$(if $(filter-out file,$(origin DATASET)),--data.set="$(SET)"),--data.set="$(SET)") --data.beton_root="$$BETON_ROOT" $(if $(TRIAL),--data.trial="$$TRIAL") $(if $(PROTOCOL),--eval.protocols="$$PROTOCOL")

eval: $(READY) ## test a checkpoint (CHECKPOINT=...) of DATASET under PROTOCOL
	$(if $(RANKS),$(TORCHRUN),'$(RUN)') eval.py $(TESTED) $(ARGS)

report: $(READY) ## the same, and write report.html; RUNS='runs/a runs/b': set runs side by side
	'$(RUN)' $(if $(RUNS),-m dns.report $$RUNS,eval.py --report.write=true $(TESTED)) $(ARGS)

export: $(READY) ## hand the network of CHECKPOINT on as ONNX files, compared with it; ARGS='--precision=int8'
	'$(RUN)' -m dns.export $(TESTED) $(ARGS)

judge: $(READY) ## rank FEATURES of any method under every convention of DATASET; ARGS=--claim=rank1=57.45,mAP=64.11
	'$(RUN)' -m dns.judge $$FEATURES --dataset="$(SET)" --beton-root="$$BETON_ROOT" $(if $(TRIAL),--trial="$$TRIAL") $(ARGS)

OWN_RUN = runs/$(SET)$(if $(filter-out dns DNS,$(METHOD)),-$(OWN_METHOD))-seed0# of `make train`

demo: $(READY) ## a page that ranks the test images in your browser for an image that you drop on it; nothing is uploaded
	'$(RUN)' -m dns.demo "$${CHECKPOINT:-$(OWN_RUN)/best.pt}" --serve --beton-root="$$BETON_ROOT" $(if $(CHECKPOINT),$(if $(METHOD),--model.method="$(OWN_METHOD)")) $(if $(filter-out file,$(origin DATASET)),--dataset="$(SET)") $(if $(TRIAL),--trial="$$TRIAL") $(ARGS)

# The network of a new index, where CHECKPOINT names none: that of the run that `make demo` takes. An index has its own.
INDEXED_BY = $(if $(CHECKPOINT),--checkpoint="$$CHECKPOINT",$(if $(EMBEDDINGS),,$$(test -d "$$INDEX" || printf -- '--checkpoint=%s' "$(OWN_RUN)/best.pt")))

index: $(READY) ## index people of your own cameras: BOXES=boxes.csv FRAMES=folder, or IMAGES=folder; CALIBRATE=labelled.csv
	'$(RUN)' -m dns.search index "$$INDEX" $(if $(BOXES),--boxes="$$BOXES") $(if $(FRAMES),--frames="$$FRAMES") $(if $(IMAGES),--crops="$$IMAGES") $(if $(EMBEDDINGS),--embeddings="$$EMBEDDINGS") $(if $(CALIBRATE),--calibrate="$$CALIBRATE") $(if $(MODALITY),--modality="$$MODALITY") --beton-root="$$BETON_ROOT" $(if $(filter-out file,$(origin DATASET)),--dataset="$(SET)") $(if $(TRIAL),--trial="$$TRIAL") $(FILTERED) $(INDEXED_BY) $(ARGS)

search: $(READY) ## where else was the person of QUERY=photo.jpg MODALITY=infrared seen? CAMERAS=1,4 SINCE=... UNTIL=...
	'$(RUN)' -m dns.search search "$$INDEX" "$$QUERY" --modality="$$MODALITY" --page="$$PAGE" $(FILTERED) $(if $(CHECKPOINT),--checkpoint="$$CHECKPOINT") $(ARGS)

serve: $(READY) ## a page and an interface for searches of INDEX, on this machine; ARGS='--host=... --token-file=...'
	'$(RUN)' -m dns.serve "$$INDEX" $(if $(CHECKPOINT),--checkpoint="$$CHECKPOINT") $(ARGS)

FILTERED = $(if $(CAMERAS),--cameras="$$CAMERAS") $(if $(SINCE),--since="$$SINCE") $(if $(UNTIL),--until="$$UNTIL")

convert-datasets: $(READY) ## convert every data set found under DATA_ROOT, list what is missing; ARGS='--height-px ...'
	'$(RUN)' -m ffcv_convert convert --data-root "$$DATA_ROOT" --beton-root "$$BETON_ROOT" $(INCOMPLETE) $(ARGS)

##@ Data sets

# The recipe of another METHOD may want images of its own size, such as 384x144: they go to a folder of that name.
SIZE = size="$$('$(RUN)' -m dns.training.conversion $(TRAINED) $(if $(filter data,$(MAKECMDGOALS)),,$(ARGS)))";
SIZED = $${size:+/$$size} $${size:+--height-px "$${size%x*}" --width-px "$${size\#*x}"}

data: $(if $(filter synthetic Synthetic SYNTHETIC,$(DATASET)),synthesise) $(READY) ## convert DATASET alone; ARGS='--height-px ...'; --force: even if it is up to date
	$(if $(METHOD),$(SIZE)) '$(RUN)' -m ffcv_convert convert --data-root "$$DATA_ROOT" --beton-root "$$BETON_ROOT"$(if $(METHOD),$(SIZED)) --dataset "$(SET)" $(INCOMPLETE) $(if $(filter data,$(MAKECMDGOALS)),$(ARGS))

verify: $(READY) ## check every converted data set: counts, structure, checksums; ARGS=--deep: every image; --strict
	'$(RUN)' -m ffcv_convert verify --data-root "$$DATA_ROOT" --beton-root "$$BETON_ROOT" $(ARGS)

synthesise: $(READY) ## draw synthetic people into DATA_ROOT/synthetic
	'$(RUN)' -m ffcv_convert synthesise --root "$$DATA_ROOT"/synthetic

##@ Speed

$(BENCH): $(call again_unless_made,$(BENCH)) | $(READY)
	'$(RUN)' -m pip install --quiet --disable-pip-version-check -c '$(PINNED)' '.[bench]'
	echo $(MADE_FROM) >'$(BENCH)'

benchmark: $(BENCH) ## measure on the CPU, beside the published path and other tools; 15 to 30 minutes
	CUDA_VISIBLE_DEVICES= '$(RUN)' -m benchmarks $(ARGS)

benchmark-gpu: $(BENCH) ## on a GPU: PARTS='tests step epoch pipeline profile', all by default; each under 10 minutes
	'$(RUN)' -m benchmarks.gpu $(PARTS)

profile: $(READY) ## profile a training step: kernels, trace, share of waiting for data
	'$(RUN)' -m benchmarks.profile $(ARGS)

##@ Tests

test: $(READY) ## run the quick tests, on every core and in random order; ARGS='-n 0 -p no:randomly': one after another
	'$(RUN)' -m pytest -q -n auto --maxprocesses=8 -m 'not gpu and not slow and not inductor' --dist loadfile $(ARGS)

test-slow: $(READY) ## run the slow ones: several ranks and jobs, make itself, the CUDA path on a device that does nothing
	'$(RUN)' -m pytest -q -n auto --maxprocesses=8 -m 'slow and not gpu' --dist loadfile $(ARGS)

# The numerical tests again, as on a processor without AVX-512, and without AVX. NumPy and OpenCV keep what they use.
AS_avx2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
           NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma,+bmi,+bmi2,+popcnt
AS_sse41 := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
            NUMBA_CPU_NAME=penryn NUMBA_CPU_FEATURES=+sse4.1

test-older-cpu: $(READY) ## run the numerical tests as on older processors, with several numbers of threads
	@$(foreach cpu,$(OLDER_CPUS),$(foreach threads,$(OLDER_THREADS),\
	  echo 'as on a processor with $(cpu), $(threads) threads' && \
	  env $(or $(AS_$(cpu)),$(error OLDER_CPUS holds $(cpu). It takes avx2 and sse41)) OMP_NUM_THREADS=$(threads) \
	    '$(RUN)' -m pytest -q -m 'numerical and not gpu and not slow and not inductor' --durations=0 --durations-min=10 $(ARGS) &&)) true

check-cuda: $(READY) ## the CUDA step without a GPU: what breaks, what waits, what is moved and computed; 15 minutes
	'$(RUN)' -m pytest -q -m inductor
	'$(RUN)' -m tests.cuda_stand_in.check
	'$(RUN)' -m tests.cuda_stand_in.check_numbers

faults: $(READY) ## kill the program, damage its files, fill its disk; counts in benchmarks/results/faults.json
	'$(RUN)' -m pytest -q tests/faults --faults=benchmarks/results/faults.json $(ARGS)

lint: $(READY) ## ruff and mypy
	'$(RUN)' -m ruff check .
	'$(RUN)' -m ruff format --check .
	'$(RUN)' -m mypy

##@ Housekeeping

setup: $(READY) ## install system packages (apt), .venv and Python packages; other targets do it by themselves

$(READY): $(call again_unless_made,$(READY))
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.10 to 3.13 found. apt-get install python3, or name one: make PYTHON=...' >&2; exit 2; }
	.ci/system-packages '$(PYTHON)'
	test -x '$(RUN)' || '$(PYTHON)' -m venv $(if $(filter 1,$(SYSTEM_PACKAGES)),--system-site-packages) '$(VENV)'
	'$(RUN)' .ci/pins.py >'$(PINNED)'
	'$(RUN)' -m pip install --quiet --disable-pip-version-check -c '$(PINNED)' '.[dev]'
	echo $(MADE_FROM) >'$(READY)'

format: $(READY) ## let ruff format and sort imports
	'$(RUN)' -m ruff check --fix .
	'$(RUN)' -m ruff format .

clean: ## remove .venv and caches; data, .beton files and runs stay
	rm -rf '$(VENV)' .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

help: ## list the targets and variables
	@echo "make TARGET [VARIABLE=value ...]"
	@sed -nE 's/^##@ (.*)/\n\1/p; s/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 20
	@echo; echo 'Variables, as they stand'
	@sed -nE 's/^([A-Z_]+) +\?= *([^#]*)# +(.*)/  \1\t\3 [\2]/p' Makefile | expand -t 20
