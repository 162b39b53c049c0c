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
    public const string Summary = "HiMo-CLIP's training objective on the CPU: fine-tune a CLIP with it, evaluate, and look at what it did.";

    /// <summary>Commands in the order that help shows them, each with at least one example.</summary>
    public static IReadOnlyList<CommandGroup> Groups { get; } =
    [
        new("Start here",
            new CommandEntry(DemoCommand.Create(), "./himo demo"),
            new CommandEntry(DoctorCommand.Create(), "./himo doctor")),
        new("Train and look",
            new CommandEntry(DatasetCommand.Create(), "./himo dataset synthesize --out out/scenes --count 30000 --seed 2", "./himo dataset check --data out/scenes"),
            new CommandEntry(TrainCommand.Create(), "./himo train --preset demo --base models/demo-base-1.safetensors --data out/scenes --out out/run"),
            new CommandEntry(EvalCommand.Create(), "./himo eval --checkpoint models/demo-base-1.safetensors --data out/scenes --out eval.json", "./himo eval --checkpoint ViT-L-14.pt --context 248 --protocol urban1k --data Urban1k --out urban1k.json --records urban1k.jsonl", "./himo eval --checkpoint ViT-L-14.pt --protocol zero-shot --data imagenet/val --classes LOC_synset_mapping.txt"),
            new CommandEntry(TableCommand.Create(), "./himo table urban1k.json docci.json himo-docci.json --out results.md"),
            new CommandEntry(ScoreCommand.Create(), "./himo score street.jpg \"An old street. A red sign hangs on the left.\" --checkpoint ViT-L-14.pt --context 248"),
            new CommandEntry(AblateCommand.Create(), "./himo ablate --out out/ablation --seeds 2"),
            new CommandEntry(ReportCommand.Create(), "./himo report out/demo/runs/* --bench out/demo/bench.json --out page.html")),
        new("The loss",
            new CommandEntry(LossCommand.Create(), "./himo loss --images v.npy --texts u.npy --out out/loss --backend cpu --logit-scale 4.6052 --tau 0.9"),
            new CommandEntry(BenchCommand.Create(), "./himo bench loss --n 128 --dim 512", "./himo bench table", "./himo bench train-step", "./himo bench accuracy", "./himo bench scale --sizes 1024,8192", "./himo bench gemm", "./himo bench eigh --threads 1", "./himo bench predict --n 8192 --dim 768 --precision bf16")),
        new("Checkpoints and features",
            new CommandEntry(CheckpointCommand.Create(), "./himo checkpoint inspect ViT-B-16.pt", "./himo checkpoint export --checkpoint out/run/model.safetensors --format hugging-face --out out/hf"),
            new CommandEntry(TokenizeCommand.Create(), "./himo tokenize --vocab bpe_simple_vocab_16e6.txt.gz --context 248 < captions.txt"),
            new CommandEntry(PreprocessCommand.Create(), "./himo preprocess --size 224 --out images.npy photo.jpg drawing.png"),
            new CommandEntry(EncodeCommand.Create(), "./himo encode --checkpoint ViT-B-16.pt --images x.npy --context 248 --out features.npy", "./himo encode --checkpoint ViT-L-14.pt --image-folder photos --out out/photos"),
            new CommandEntry(SearchCommand.Create(), "./himo search \"a red bicycle\" --features out/photos --checkpoint ViT-L-14.pt --top 5")),
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
