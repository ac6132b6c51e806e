"""The only room that imports Ray: it decides where and when the plain functions of `work/` run."""
