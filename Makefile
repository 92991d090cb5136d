# make          lists what there is
# make verify   what must be clean before a change lands

STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Packages whose goroutines share memory; the whole tree under -race takes long on two cores.
RACE = ./client/... ./internal/api/... ./internal/authz/... ./internal/blob/... ./internal/cluster/... ./internal/gateway/... ./internal/store/... ./internal/taskmanager/... ./internal/worker/...

.PHONY: help build test verify format vet staticcheck generate generated race chart image demo bench clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

build: ## the program, in ./cloudcrowd
	CGO_ENABLED=0 go build -trimpath -o cloudcrowd ./cmd/cloudcrowd

test: ## all tests
	go test ./...

verify: format vet staticcheck generated race ## everything a change must pass besides the tests

format: ## fails if gofmt would change a file
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet: ## go vet, for every system
	go vet ./...
	GOOS=windows go vet ./cmd/... ./internal/worker/... ./internal/sandbox/...
	GOOS=darwin go vet ./cmd/... ./internal/worker/... ./internal/sandbox/...

staticcheck: ## staticcheck
	$(STATICCHECK) ./...

generate: ## protocol messages, API description, manual, configuration reference (needs protoc and protoc-gen-go); the examples' modules: go generate ./examples
	go generate ./internal/... ./cmd/...

generated: generate ## fails if a generated file is not what its source makes
	@git diff --exit-code --stat -- '*.pb.go' internal/api/openapi.json docs/cli.md docs/configuration.md || { echo "generated files were not up to date"; exit 1; }

race: ## race detector on packages with shared memory
	go test -race -short -timeout 20m $(RACE)

chart: ## tests of the Helm chart, a module of their own
	cd deploy/helm/test && go vet ./... && go test ./...

image: ## the program alone in a container image named cloudcrowd (needs Docker)
	docker build --build-arg VERSION=$$(git describe --tags --always --dirty || echo dev) -f deploy/Dockerfile -t cloudcrowd .

demo: ## the main job for real: server, four workers (one lies), the spectrum of a genome
	go run ./cmd/cloudcrowd demo

bench: ## tasks per second through a real server, every commit synced
	go run ./cmd/cloudcrowd bench dispatch --tasks 20000 --workers 4

clean: ## removes what build made
	rm -f cloudcrowd
