# Needs: results/{study}/predictions/{model}/{dataset}/{family}.parquet and results/{study}/models/{model}.json
# Makes:
#   results/{study}/tables/accuracy/{model}.parquet    one model's accuracies
#   results/{study}/tables/accuracy.parquet            all models'
#   results/{study}/tables/failures.parquet            what failed, and why
#   results/{study}/tables/shape_bias.parquet          shape against texture, where there are sets of cue conflict
#   results/{study}/tables/models.parquet              facts about the models


rule summarise_model:
    input:
        dag.model_predictions,
    output:
        "results/{study}/tables/accuracy/{model}.parquet",
    log:
        "results/{study}/logs/summarise_model/{model}.log",
    benchmark:
        "results/{study}/benchmarks/summarise_model/{model}.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:summarise"),
    message:
        "Summarising the predictions of {wildcards.model}"
    shell:
        "withstand summarise {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_accuracy:
    input:
        dag.summaries,
    output:
        accuracy="results/{study}/tables/accuracy.parquet",
        failures="results/{study}/tables/failures.parquet",
    log:
        "results/{study}/logs/tabulate_accuracy/accuracy.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_accuracy/accuracy.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:tabulate_accuracy"),
    message:
        "Joining the accuracies of all models"
    shell:
        "withstand tabulate-accuracy {input:q} --accuracy {output.accuracy:q} --failures {output.failures:q}"
        " > {log:q} 2>&1"


rule tabulate_shape_bias:
    input:
        dag.cue_conflict_predictions,
    output:
        "results/{study}/tables/shape_bias.parquet",
    log:
        "results/{study}/logs/tabulate_shape_bias/shape_bias.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_shape_bias/shape_bias.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        code=code_digest("withstand.steps.tabulate:tabulate_shape_bias"),
    message:
        "Tabulating the shape bias of all models"
    shell:
        "withstand tabulate-shape-bias {input:q} --output {output:q} > {log:q} 2>&1"


rule tabulate_models:
    input:
        dag.cards,
    output:
        "results/{study}/tables/models.parquet",
    log:
        "results/{study}/logs/tabulate_models/models.log",
    benchmark:
        "results/{study}/benchmarks/tabulate_models/models.jsonl"
    localrule: True
    conda:
        "../envs/withstand.yaml"
    params:
        descriptions=dag.model_descriptions,
        code=code_digest("withstand.steps.tabulate:tabulate_models"),
    message:
        "Tabulating the models"
    shell:
        "withstand tabulate-models {input:q} --descriptions {params.descriptions:q} --output {output:q} > {log:q} 2>&1"
