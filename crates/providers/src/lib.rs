//! AI providers of Portcullis: presets as data, wires as code, builtin models.
