// SPDX-License-Identifier: Apache-2.0
using System.CommandLine;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Trainer;

/// <summary>The options of every command that encodes with a checkpoint: which, what its file may not say, and where it runs.</summary>
internal sealed class ModelOptions
{
    private readonly Option<string> _checkpoint = new("--checkpoint") { Description = "The model: safetensors, a torch.save state dict or a TorchScript archive.", HelpName = "FILE", Required = true };
    private readonly Option<int?> _context = new("--context") { Description = "Text positions; 248 stretches a checkpoint with 77. [the checkpoint's]", HelpName = "N" };
    private readonly Option<StretchPrecision> _stretch = ChoiceOption.Create("--stretch", StretchPrecision.F32, "Rounding of stretched positions; f16 gives the authors' bits.");
    private readonly Option<ActivationChoice> _activation = ActivationOption.Create();
    private readonly Option<string> _device = DeviceOption.Create("Where the encoders run; features and measures are the CPU's.");
    private readonly Option<string?> _vocab = TokenizeCommand.VocabOption();

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="tokenizes">Whether it reads texts, so that a vocabulary can be named.</param>
    public void AddTo(Command command, bool tokenizes = true)
    {
        command.Add(_checkpoint);
        command.Add(_context);
        command.Add(_stretch);
        command.Add(_activation);
        command.Add(_device);
        if (tokenizes)
        {
            command.Add(_vocab);
        }
    }

    /// <summary>The checkpoint as it was named.</summary>
    public string Checkpoint(ParseResult parse) => parse.GetRequiredValue(_checkpoint);

    /// <summary>The vocabulary as it was named, or null.</summary>
    public string? Vocabulary(ParseResult parse) => parse.GetValue(_vocab);

    /// <summary>Loads the model onto its device.</summary>
    /// <exception cref="UserError">The device is not there, or the file is missing, malformed or no CLIP.</exception>
    public ClipModel LoadModel(ParseResult parse)
    {
        Device device = TorchDevice.Open(parse.GetRequiredValue(_device));
        return ClipModel.Load(Checkpoint(parse), parse.GetValue(_context), parse.GetValue(_stretch), ActivationOption.Read(parse.GetValue(_activation))).to(device);
    }

    /// <summary>Loads the model and its tokenizer.</summary>
    /// <exception cref="UserError">As above, or no vocabulary is found.</exception>
    public (ClipModel Model, ITokenizer Tokenizer) Load(ParseResult parse)
    {
        ClipModel model = LoadModel(parse);
        try
        {
            return (model, TokenizerOf(parse, model));
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>The tokenizer of a loaded model.</summary>
    /// <exception cref="UserError">No vocabulary is found.</exception>
    public ITokenizer TokenizerOf(ParseResult parse, ClipModel model) => Tokenizers.For(model.Metadata, Vocabulary(parse), Checkpoint(parse));
}
