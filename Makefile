.PHONY: generate
generate: build/.generated
build/.generated: $(shell find protos scripts -name '*.proto' -o -name '*.py') buf.yaml buf.gen.yaml
	@mkdir -p build && PYTHONPATH=. .venv/bin/python -m scripts.generate && touch $@
