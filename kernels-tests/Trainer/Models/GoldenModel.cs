// SPDX-License-Identifier: Apache-2.0
using System.Text.Json;
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>One folder of golden/model: a tiny CLIP, a batch, and what the authors' code made of them in float64.</summary>
internal sealed class GoldenModel
{
    private readonly string _folder;
    private readonly JsonElement _manifest;

    public GoldenModel(string name)
    {
        TorchLoader.EnsureLoaded();
        _folder = TestData.Get("golden", "model", name);
        _manifest = JsonDocument.Parse(File.ReadAllText(PathOf("manifest.json"))).RootElement;
    }

    public string PathOf(params string[] parts) => Path.Combine([_folder, .. parts]);

    public Tensor Load(params string[] parts)
    {
        string path = PathOf([.. parts[..^1], parts[^1] + ".npy"]);
        if (parts[^1] is "tokens" or "eot_index")
        {
            NpyArray<long> ids = NpyFile.Read<long>(path);
            return tensor(ids.Elements).reshape([.. ids.Shape.Select(size => (long)size)]);
        }

        NpyArray<double> array = NpyFile.Read<double>(path);
        return tensor(array.Elements).reshape([.. array.Shape.Select(size => (long)size)]);
    }

    /// <summary>The authors' loss on the batch, in float64.</summary>
    public double Loss => _manifest.GetProperty("results").GetProperty("main").GetProperty("total").GetDouble();

    public Tensor Images => Load("images").to(float32);

    /// <summary>The part of a flattened array that belongs to one parameter, in its shape.</summary>
    public IEnumerable<(string Name, Tensor Value)> Unflatten(Tensor flat) =>
        from parameter in _manifest.GetProperty("parameters").EnumerateArray()
        let shape = parameter.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64()).ToArray()
        select (parameter.GetProperty("name").GetString()!, flat.narrow(0, parameter.GetProperty("offset").GetInt64(), parameter.GetProperty("count").GetInt64()).reshape(shape));

    /// <summary>Gradients of the golden loss on the golden batch, accumulated into the parameters; returns the loss.</summary>
    public double Backward(ClipModel model, bool gatherWithGrad)
    {
        using DisposeScope scope = NewDisposeScope();
        JsonElement parameters = _manifest.GetProperty("loss_params");
        MoLoOptions options = new()
        {
            Tau = parameters.GetProperty("tau").GetDouble(),
            LabelSmoothing = parameters.GetProperty("label_smoothing").GetDouble(),
            Lambda = parameters.GetProperty("lambda").GetDouble(),
            GatherWithGrad = gatherWithGrad,
        };
        Tensor images = model.EncodeImage(Images), texts = model.EncodeText(Load("tokens"));
        int rows = (int)images.shape[0], columns = (int)images.shape[1];
        ReferenceStep step = TrainingStepReference.Run(Doubles(images), Doubles(texts), rows, columns, model.LogitScale.to(float64).item<double>(), options);
        Tensor surrogate = (images * tensor(step.GradImages, [rows, columns]).to(images.dtype)).sum() + (texts * tensor(step.GradTexts, [rows, columns]).to(images.dtype)).sum()
            + (model.LogitScale * step.Result.GradLogitScale);
        surrogate.backward();
        return step.Result.Loss;
    }

    /// <summary>Frobenius norm of the difference over that of what is expected, or over <paramref name="floor"/>.</summary>
    public static double RelativeError(Tensor actual, Tensor expected, double floor = 1e-6)
    {
        using DisposeScope scope = NewDisposeScope();
        Assert.That(actual.shape, Is.EqualTo(expected.shape));
        double error = (actual.to(float64) - expected).norm().item<double>() / Math.Max(expected.norm().item<double>(), floor);
        return double.IsNaN(error) ? double.PositiveInfinity : error; // NUnit counts NaN as less than every tolerance
    }

    private static double[] Doubles(Tensor values) => values.detach().to(float64).flatten().data<double>().ToArray();
}
