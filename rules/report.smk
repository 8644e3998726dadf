# Needs: results/{study}/tables/*.parquet and results/{study}/figures/*
# Makes: results/{study}/report.html, one page that stands alone


rule write_report:
    input:
        tables=dag.tables(),
        figures=dag.figures(),
    output:
        "results/{study}/report.html",
    log:
        "results/{study}/logs/write_report/report.log",
    benchmark:
        "results/{study}/benchmarks/write_report/report.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        spec=dag.report.spec,
        figures=dag.report.figure_options,
        benchmarks=f"results/{study.study}/benchmarks",
        code=dag.report.code(),
    message:
        "Writing the report"
    shell:
        "withstand write-report {input.tables:q} {params.figures:q} --spec {params.spec:q}"
        " --benchmarks {params.benchmarks:q} --output {output:q} > {log:q} 2>&1"
