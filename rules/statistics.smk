# Needs: results/{study}/tables/images/{model}.parquet, the study's tables, and the answers behind them
# Makes:
#   results/{study}/tables/comparisons.parquet           every pair of models on every set
#   results/{study}/tables/corruption_error.parquet      errors in percent of a reference's, where images are corrupted
#   results/{study}/tables/trends.parquet                rank correlations, slopes of error against size
#   results/{study}/tables/effective_robustness.parquet  accuracy beyond what clean accuracy predicts
#   results/{study}/tables/claims.parquet                the paper's claims, tested
#   results/{study}/tables/reproduction.parquet          beside published values, where there are such


rule tabulate_comparisons:
    input:
        dag.statistics.images,
    output:
        "results/{study}/tables/comparisons.parquet",
    log:
        "results/{study}/logs/tabulate_comparisons/comparisons.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_comparisons/comparisons.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate_statistics:tabulate_comparisons"),
    message:
        "Comparing every pair of models"
    shell:
        "withstand tabulate-comparisons {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_corruption_error:
    input:
        dag.statistics.images,
    output:
        "results/{study}/tables/corruption_error.parquet",
    log:
        "results/{study}/logs/tabulate_corruption_error/corruption_error.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_corruption_error/corruption_error.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        references=dag.statistics.reference_options,
        code=code_digest("withstand.steps.tabulate_statistics:tabulate_corruption_error"),
    message:
        "Tabulating corruption errors"
    shell:
        "withstand tabulate-corruption-error {input:q} {params.references:q}" " --output {output:q} > {log:q} 2>&1"


rule tabulate_trends:
    input:
        accuracy="results/{study}/tables/accuracy.parquet",
        models="results/{study}/tables/models.parquet",
    output:
        trends="results/{study}/tables/trends.parquet",
        effective_robustness="results/{study}/tables/effective_robustness.parquet",
    log:
        "results/{study}/logs/tabulate_trends/trends.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_trends/trends.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        reference=study.reference(),
        datasets=dag.statistics.judged,
        code=code_digest("withstand.steps.tabulate_statistics:tabulate_trends"),
    message:
        "Looking for trends over models"
    shell:
        "withstand tabulate-trends --accuracy {input.accuracy:q} --models {input.models:q}"
        " --reference {params.reference:q} {params.datasets:q} --trends {output.trends:q}"
        " --effective-robustness {output.effective_robustness:q} > {log:q} 2>&1"


rule tabulate_claims:
    input:
        tables=dag.statistics.evidence,
        answers=dag.statistics.answers,
    output:
        "results/{study}/tables/claims.parquet",
    log:
        "results/{study}/logs/tabulate_claims/claims.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_claims/claims.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        settings=dag.statistics.settings,
        answers=dag.statistics.answers_options,
        code=code_digest("withstand.steps.tabulate_statistics:tabulate_claims"),
    message:
        "Testing the paper's claims"
    shell:
        "withstand tabulate-claims {input.tables:q} --settings {params.settings:q} {params.answers:q}"
        " --output {output:q} > {log:q} 2>&1"


rule tabulate_reproduction:
    input:
        tables=dag.statistics.reproduced,
        models="results/{study}/tables/models.parquet",
    output:
        "results/{study}/tables/reproduction.parquet",
    log:
        "results/{study}/logs/tabulate_reproduction/reproduction.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_reproduction/reproduction.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        tables=dag.statistics.reproduced_options,
        identities=dag.statistics.identities,
        published=published.digest(),
        code=code_digest("withstand.steps.tabulate_reproduction:tabulate_reproduction"),
    message:
        "Setting published values beside measured ones"
    shell:
        "withstand tabulate-reproduction --models {input.models:q} {params.tables:q}"
        " --identities {params.identities:q} --output {output:q} > {log:q} 2>&1"
