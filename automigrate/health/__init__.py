"""Readiness of a process: endpoints, gate, maintenance page, metrics and traces.

Import what is needed from its module; this package imports none of them, because the command line
needs one function of it on its fastest path.

    asgi, wsgi      middleware and gate for applications
    server          a thread that serves health for processes without HTTP
    readiness       the value behind all answers
    metrics         Prometheus
    tracing         OpenTelemetry
    termination     the termination message of a pod
"""
