"""The benchmark: the product beside a shell pipeline, on the lab's two hosts, in one run."""
