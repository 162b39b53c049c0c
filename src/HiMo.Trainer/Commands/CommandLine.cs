// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;

namespace HiMo.Trainer;

/// <summary>
/// The one list of commands; each lives in its own file beside this one. A command is added by one line below and one file
/// <c>XCommand.cs</c> with <c>public static Command Create()</c>; its action is set by <see cref="CommandAction.Set"/>.
/// </summary>
internal static class CommandLine
{
    /// <summary>What the program is, in one sentence.</summary>
    public const string Summary = "HiMo-CLIP's training objective: fine-tune a CLIP with it, evaluate, and look at what it did.";

    private const string DemoModel = "out/demo/runs/himo-base1-seed0/model.safetensors";

    /// <summary>What the examples name that neither the repository holds nor another example writes, and where it comes from.</summary>
    public static IReadOnlyList<(string Name, string Source)> Origins { get; } =
    [
        ("out/demo", "./himo demo makes it"),
        ("ViT-L-14.pt", "OpenAI's checkpoint, or any other that ./himo doctor --checkpoint describes"),
        ("Urban1k", "Long-CLIP's evaluation set; docs/evaluation.md lists the sets"),
        ("imagenet/val", "ImageNet's validation images, one folder a class"),
        ("LOC_synset_mapping.txt", "comes with ImageNet"),
        ("v.npy", "your image features, for example from ./himo encode --data-images"),
        ("u.npy", "your text features, one row for each of the images'"),
        ("bpe_simple_vocab_16e6.txt.gz", "CLIP's vocabulary, in OpenAI's repository"),
        ("captions.txt", "your texts, one a line"),
        ("scores.npy", "your similarities, images by growing captions"),
        ("results", "the folder that run.sh of the bundle wrote to, from the GPU machine"),
        ("similarity.npy", "your similarities, images by texts"),
    ];

    /// <summary>Commands in the order that help shows them, each with at least one example.</summary>
    public static IReadOnlyList<CommandGroup> Groups { get; } =
    [
        new("Start here",
            new CommandEntry(DemoCommand.Create(), "./himo demo"),
            new CommandEntry(DoctorCommand.Create(), "./himo doctor")),
        new("Train and look",
            new CommandEntry(DatasetCommand.Create(), "./himo dataset synthesize --out out/scenes --count 30000 --seed 2", "./himo dataset check --data out/scenes"),
            new CommandEntry(TrainCommand.Create(), "./himo train --preset demo --base models/demo-base-1.safetensors --data out/demo/data --out out/run"),
            new CommandEntry(EvalCommand.Create(), $"./himo eval --checkpoint {DemoModel} --data out/demo/data --out out/eval/eval.json", "./himo eval --checkpoint ViT-L-14.pt --context 248 --protocol urban1k --data Urban1k --out out/urban1k.json --records out/urban1k.jsonl", "./himo eval --checkpoint ViT-L-14.pt --protocol zero-shot --data imagenet/val --classes LOC_synset_mapping.txt"),
            new CommandEntry(TableCommand.Create(), "./himo table out/urban1k.json --out out/results.md"),
            new CommandEntry(ScoreCommand.Create(), $"./himo score out/demo/data/eval/images/000002.png \"Four shapes with a purple triangle on black. A large red dotted diamond at bottom left.\" --checkpoint {DemoModel}"),
            new CommandEntry(AblateCommand.Create(), "./himo ablate --out out/ablation --seeds 2"),
            new CommandEntry(ReportCommand.Create(), "./himo report out/demo/runs/* --bench out/demo/bench.json --out out/page.html")),
        new("The loss",
            new CommandEntry(LossCommand.Create(), "./himo loss --images v.npy --texts u.npy --out out/loss --backend cpu --logit-scale 4.6052 --tau 0.9"),
            new CommandEntry(BenchCommand.Create(), "./himo bench loss --n 128 --dim 512", "./himo bench table", "./himo bench train-step", "./himo bench accuracy", "./himo bench scale --sizes 1024,8192", "./himo bench gemm", "./himo bench eigh --threads 1", "./himo bench predict --n 8192 --dim 768 --precision bf16"),
            new CommandEntry(PrecompileCommand.Create(), "./himo precompile"),
            new CommandEntry(GpuBundleCommand.Create(), "./himo gpu-bundle --out out/bundle"),
            new CommandEntry(GpuReportCommand.Create(), "./himo gpu-report results")),
        new("Checkpoints and features",
            new CommandEntry(CheckpointCommand.Create(), "./himo checkpoint inspect models/demo-base-1.safetensors", "./himo checkpoint export --checkpoint out/run/model.safetensors --format hugging-face --out out/hf"),
            new CommandEntry(TokenizeCommand.Create(), "./himo tokenize --vocab bpe_simple_vocab_16e6.txt.gz --context 248 < captions.txt"),
            new CommandEntry(PreprocessCommand.Create(), "./himo preprocess --size 36 --out out/pixels.npy out/demo/data/eval/images/000000.png out/demo/data/eval/images/000001.png"),
            new CommandEntry(EncodeCommand.Create(), $"./himo encode --checkpoint {DemoModel} --image-folder out/demo/data/eval/images --out out/features", $"./himo encode --checkpoint {DemoModel} --images out/pixels.npy --out out/features.npy"),
            new CommandEntry(SearchCommand.Create(), $"./himo search \"Three shapes with a green square on brown.\" --features out/features --checkpoint {DemoModel} --top 5")),
        new("Measures",
            new CommandEntry(MetricsCommand.Create(), "./himo metrics himo --scores scores.npy", "./himo metrics retrieval --similarity similarity.npy")),
    ];

    /// <summary>All commands, with the options that every command takes.</summary>
    public static RootCommand Create()
    {
        RootCommand root = CreateRoot();
        foreach (CommandEntry entry in Groups.SelectMany(group => group.Entries))
        {
            root.Add(entry.Command);
        }

        return root;
    }

    /// <summary>A program without commands, but with help, version and the options of all commands.</summary>
    internal static RootCommand CreateRoot()
    {
        RootCommand root = new(Summary) { CommandRunner.Verbose };
        HelpPage.Use(root);
        return root;
    }
}
