"""The container images: `python -m tools.images build`.

With a Docker engine, `docker build`; without one, buildah on a base image that debootstrap makes once. Tags are
digests of what goes in, so an unchanged image is neither built nor loaded again, and pods roll only for a new one.
"""
