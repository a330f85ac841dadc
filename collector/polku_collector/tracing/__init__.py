"""OpenTelemetry spans of requests and flushes. Loaded only where traces are wanted: nobody else pays for it."""
