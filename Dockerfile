# hftune in a container: any Debian or Ubuntu base with Python 3.11 or newer and its venv module.
# Needs BuildKit (the default of `docker build`) or buildah; see docs/containers.md.

ARG BASE_IMAGE=python:3.12-slim

# jemalloc makes steps on a CPU faster; hftune takes it by itself (docs/memory-and-threads.md).
FROM ${BASE_IMAGE} AS prepared
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libjemalloc2 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
RUN python3 -m venv /opt/hftune
ENV PATH=/opt/hftune/bin:$PATH

# The package alone, so that the image below holds no source tree.
FROM prepared AS wheel
COPY . /source
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheel /source

FROM prepared

# User 1000 owns the three folders, and others may write to them as to /tmp: a new volume takes its
# rights from here, so it serves any `--user`. Without a project mounted over /project, runs go to
# /runs.
RUN { getent passwd 1000 || useradd --uid 1000 --home-dir /cache/home --no-create-home hftune; } \
 && install --directory --owner 1000 --group 1000 --mode 1777 /cache /runs /project \
 && ln -s /runs /project/runs

# From the largest layer to the smallest: a change further down leaves what is above in the cache.
# torch and torchvision are built for each other, so they come together from one index; a pair that
# does not fit fails on import, which is done here rather than on the first run. Static libraries
# (170 MB of CUDA's) serve those who link programs, which nothing here does.
ARG TORCH_VERSION=2.15.0
ARG TORCHVISION_VERSION=0.29.2
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
      "torch==$TORCH_VERSION" "torchvision==$TORCHVISION_VERSION" \
 && python -c 'import torchvision' \
 && find /opt/hftune -name '*.a' -delete \
 && rm -rf /tmp/*

# What pyproject.toml asks for, by way of an empty package of the same name, in the versions of
# constraints.txt; torch, and what each of its versions wants in its own, are those from above.
ARG EXTRAS=
COPY pyproject.toml constraints.txt /tmp/empty/
RUN --mount=type=cache,target=/root/.cache/pip \
    cd /tmp/empty \
 && mkdir hftune recipes \
 && echo '__version__ = "0"' > hftune/__init__.py \
 && touch README.md LICENSE \
 && grep -Ev '^(torch|torchvision|triton|setuptools|cuda-.*|nvidia-.*)==' constraints.txt > others.txt \
 && pip install --constraint others.txt ".${EXTRAS:+[$EXTRAS]}" \
 && pip uninstall --yes hftune \
 && rm -rf /tmp/empty

COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
 && pip check \
 && rm -rf /tmp/wheel

# Home is in the cache volume, so that the Hub client, matplotlib and Triton keep what they keep
# there, also under `--user` with a number that has no name here (USER stands in for the name).
ENV HOME=/cache/home \
    HF_HOME=/cache/huggingface \
    USER=hftune \
    PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /project
VOLUME ["/cache", "/runs"]
LABEL org.opencontainers.image.title=hftune \
      org.opencontainers.image.description="Fine-tune image classifiers from the Hub" \
      org.opencontainers.image.licenses=Apache-2.0

# tini is process 1: a stop reaches the trainer from its first moment, and no dead worker is kept.
# The signal is said, since a base may ask for another one.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "hftune"]
CMD ["--help"]
