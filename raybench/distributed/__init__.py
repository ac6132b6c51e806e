"""The only package that imports Ray: it decides where and when the functions of `jobs/` run."""
