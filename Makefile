# Two commands: `make demo` shows Quoll at work, `make test` proves that it works.
.PHONY: help setup build demo test soak lint clean

help:
	@sed -n 's/^## //p' Makefile

## make setup   prepare this machine (scripts/setup --no-install only checks and explains)
setup:
	@scripts/setup

## make build   release binaries, the Grafana plugin and the console page
build: setup
	@cargo build --release --locked -p quoll-exporter -p quoll-scorer -p quoll-microsim -p quoll-e2e
	@grafana-panel/build

## make demo    the whole stack on loopback: learn, break a service, name the cause
##              DEMO_SECONDS=300 bounds it; DEMO_FAULT=cart:latency chooses the fault; DEMO_SEED=7 the draw
demo: build
	@cargo xtask demo

## make test    every test, with seconds per suite
test:
	@scripts/test

## make soak    the long ones: kills, memory, fuzzing; SOAK_MINUTES=30, SOAK_KILLS=200 and FUZZ_MINUTES=30 bound them
soak: setup
	@scripts/soak

## make lint    formatting and clippy, warnings denied
lint: setup
	@scripts/lint

clean:
	cargo clean
