"""Speed and agreement beside other libraries; results in outputs/benchmarks/."""
