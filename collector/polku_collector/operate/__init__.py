"""What an operator's tools are given, made from the one list of metrics: Prometheus' alerts, Grafana's dashboard."""
