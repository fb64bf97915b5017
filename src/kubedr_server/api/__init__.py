"""The custom resources' types: the single source of the CRDs, their reference and the defaults."""
