"""References for people, made from what programs read: the CRD's schema and the OpenAPI document."""
