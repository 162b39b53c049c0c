// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using System.Text.Json.Nodes;
using SkiaSharp;

namespace HiMo.Trainer;

/// <summary>
/// A run's records as TensorBoard shows them, in the folder tensorboard beside the log: numbers of every step and every evaluation, the
/// distribution of explained variance, a few images with their captions.
/// </summary>
internal sealed class TensorBoardLog : IDisposable
{
    /// <summary>Name of the folder in a run's folder.</summary>
    public const string FolderName = "tensorboard";

    private const int Examples = 4;

    private static readonly string[] s_notShown = ["kind", "step"];

    private readonly EventFile _file;
    private readonly List<double> _explained = [];

    /// <summary>Starts a file; of a continued run one that hides what came after its checkpoint.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="config">Shown as text at the start.</param>
    /// <param name="done">Steps done.</param>
    /// <exception cref="UserError">The file system refuses.</exception>
    public TensorBoardLog(string folder, TrainingConfig config, long done)
    {
        _file = new EventFile(Path.Combine(folder, FolderName));
        if (done > 0)
        {
            _file.Start(done + 1);
        }
        else
        {
            _file.Text("config", string.Concat(config.Describe().Split('\n').Select(line => $"    {line}\n")), 0);
        }
    }

    /// <summary>All numbers of a record of the log, by its kind: train/loss, eval/retrieval/full/image_to_text_R@1.</summary>
    /// <param name="record">The record.</param>
    public void Write(JsonObject record)
    {
        string kind = (string)record["kind"]!;
        long step = (long)record["step"]!;
        if (kind == "step" && record["explained_variance"] is { } explained)
        {
            _explained.Add((double)explained);
        }

        WriteNumbers(kind == "step" ? "train" : kind, record, step);
    }

    /// <summary>Distributions: the explained variance of the steps since the last call, and what each principal component explains.</summary>
    /// <param name="spectrum">Eigenvalues; empty writes the first distribution alone.</param>
    /// <param name="step">The step.</param>
    public void WriteDistributions(IReadOnlyList<float> spectrum, long step)
    {
        if (_explained.Count > 0)
        {
            _file.Histogram("hide/explained_variance", _explained.ToArray(), step);
            _explained.Clear();
        }

        double total = spectrum.Sum(value => (double)value);
        if (total > 0.0)
        {
            _file.Histogram("hide/share_of_each_component", spectrum.Select(value => value / total).ToArray(), step);
        }
    }

    /// <summary>The first pairs of a batch.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="side">Pixels of an image's side.</param>
    /// <param name="step">The step.</param>
    public void WriteExamples(TrainingBatch batch, int side, long step)
    {
        for (int i = 0; i < Math.Min(Examples, batch.Pairs.Length); i++)
        {
            _file.Image($"examples/{i}", side, side, Png(batch.Planes.AsSpan(i * 3 * side * side, 3 * side * side), side), step);
            _file.Text($"examples/{i}", batch.Pairs[i].Caption, step);
        }
    }

    public void Dispose() => _file.Dispose();

    private void WriteNumbers(string path, JsonObject values, long step)
    {
        foreach ((string name, JsonNode? value) in values.Where(pair => path.Contains('/', StringComparison.Ordinal) || !s_notShown.Contains(pair.Key)))
        {
            if (value is JsonObject inner)
            {
                WriteNumbers($"{path}/{name}", inner, step);
            }
            else if (value?.GetValueKind() == JsonValueKind.Number)
            {
                _file.Scalar($"{path}/{name}", Number(value), step);
            }
        }
    }

    /// <summary>Whatever type of number a program has put there.</summary>
    private static double Number(JsonNode value) => JsonSerializer.SerializeToElement(value).GetDouble();

    private static byte[] Png(ReadOnlySpan<byte> planes, int side)
    {
        using SKBitmap bitmap = new(new SKImageInfo(side, side, SKColorType.Rgba8888, SKAlphaType.Opaque));
        Span<byte> pixels = bitmap.GetPixelSpan();
        int count = side * side;
        for (int i = 0; i < count; i++)
        {
            (pixels[4 * i], pixels[(4 * i) + 1], pixels[(4 * i) + 2], pixels[(4 * i) + 3]) = (planes[i], planes[count + i], planes[(2 * count) + i], byte.MaxValue);
        }

        using SKData data = bitmap.Encode(SKEncodedImageFormat.Png, quality: 100);
        return data.ToArray();
    }
}
