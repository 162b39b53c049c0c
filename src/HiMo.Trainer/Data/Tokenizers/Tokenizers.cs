// SPDX-License-Identifier: Apache-2.0
namespace HiMo.Trainer;

/// <summary>Finds the tokenizer that belongs to a checkpoint.</summary>
internal static class Tokenizers
{
    /// <summary>Environment variable that names a vocabulary file or a folder with one.</summary>
    public const string Variable = "HIMO_VOCAB";

    /// <summary>
    /// Words from the checkpoint's metadata where it has them; otherwise CLIP's byte pairs, whose vocabulary is looked for in the option,
    /// then in <see cref="Variable"/>, then in the checkpoint's folder.
    /// </summary>
    /// <param name="metadata">The checkpoint's metadata.</param>
    /// <param name="vocabOption">What --vocab names, a file or a folder, or null.</param>
    /// <param name="checkpointPath">The checkpoint's file or folder, or null where there is none.</param>
    /// <exception cref="UserError">No vocabulary is found, or it cannot be read.</exception>
    public static ITokenizer For(IReadOnlyDictionary<string, string> metadata, string? vocabOption, string? checkpointPath)
    {
        if (!metadata.TryGetValue(WordTokenizer.MetadataKey, out string? words))
        {
            return new ClipTokenizer(ClipVocabulary.Load(FindVocabulary(vocabOption, checkpointPath)));
        }

        return vocabOption is null
            ? new WordTokenizer(words.Split('\n'))
            : throw new UserError($"--vocab {vocabOption}: the checkpoint brings its own words; leave --vocab out");
    }

    /// <summary>The vocabulary file.</summary>
    /// <param name="vocabOption">What --vocab names, or null.</param>
    /// <param name="checkpointPath">The checkpoint's file or folder, or null.</param>
    /// <exception cref="UserError">None is found.</exception>
    public static string FindVocabulary(string? vocabOption, string? checkpointPath)
    {
        if (vocabOption is not null)
        {
            return InNamedPlace(vocabOption, "--vocab");
        }

        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } set)
        {
            return InNamedPlace(set, Variable);
        }

        string? folder = Directory.Exists(checkpointPath) ? checkpointPath : Path.GetDirectoryName(Path.GetFullPath(checkpointPath ?? "."));
        string names = string.Join(", ", ClipVocabulary.FileNames);
        return (checkpointPath is not null && Directory.Exists(folder) ? ClipVocabulary.FindIn(folder) : null)
            ?? throw new UserError($"CLIP's vocabulary is not part of this repository and was not found: --vocab is not given, {Variable} is not set, "
                + $"and {(checkpointPath is null ? "there is no checkpoint" : $"the checkpoint's folder {folder} holds none of {names}")}; name one of these files (OpenAI's {ClipVocabulary.FileNames[0]} is in github.com/openai/CLIP)");
    }

    private static string InNamedPlace(string place, string source)
    {
        if (Directory.Exists(place))
        {
            return ClipVocabulary.FindIn(place) ?? throw new UserError($"{source} {place}: the folder holds none of {string.Join(", ", ClipVocabulary.FileNames)}");
        }

        return File.Exists(place) ? place : throw new UserError($"{source} {place}: there is no such file or folder");
    }
}
