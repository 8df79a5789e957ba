"""Problems on environments, one builder per file; `hfac.problems.REGISTRY` names them."""
