// SPDX-License-Identifier: Apache-2.0
using HiMo.Interop;
using HiMo.Trainer;
using NUnit.Framework;
using TorchSharp;
using static TorchSharp.torch;

namespace HiMo.Kernels.Tests;

/// <summary>The contract of <c>./himo encode</c>, checked with the authors' numbers.</summary>
public sealed class EncodeCommandTests : FolderTests
{
    private string Features => Path.Combine(Folder, "f.npy");

    [OneTimeSetUp]
    public void LoadTorch() => TorchLoader.EnsureLoaded();

    [TestCase("himo248", "weights.safetensors", "", "f32")]
    [TestCase("himo248", "weights.pt", "", "f16")]
    [TestCase("clip77", "weights.pt", "exact_pe.", "f32")]
    [TestCase("clip77", "weights_jit.pt", "exact_pe.", "f32")]
    [TestCase("clip77", "weights_jit.pt", "official_pe.", "f16")]
    public void Golden_features_come_out(string golden, string weights, string prefix, string stretch)
    {
        using DisposeScope scope = NewDisposeScope();
        GoldenModel model = new(golden);
        foreach ((string option, string input, string expected) in new[] { ("--images", "images.npy", "image_features"), ("--texts", "tokens.npy", "text_features") })
        {
            HimoCall call = HimoCall.Run("encode", "--checkpoint", model.PathOf(weights), option, model.PathOf(input), "--context", "248", "--stretch", stretch, "--batch", "3", "--out", Features);
            Assert.That((call.Code, call.Output, call.Error), Is.EqualTo((0, "", "")));
            NpyArray<double> written = NpyFile.Read<double>(Features);
            Assert.That(written.StoredType, Is.EqualTo("f4"));
            Tensor actual = tensor(written.Elements).reshape([.. written.Shape.Select(size => (long)size)]);
            Assert.That(GoldenModel.RelativeError(actual, model.Load(prefix + expected)), Is.LessThan(1e-5), option);
        }
    }

    [Test]
    public void No_rows_give_no_features()
    {
        string checkpoint = SaveModel();
        NpyFile.Write<long>(Path.Combine(Folder, "ids.npy"), Array.Empty<long>(), 0, 5);
        HimoCall call = HimoCall.Run("encode", "--checkpoint", checkpoint, "--texts", Path.Combine(Folder, "ids.npy"), "--out", Features);
        Assert.That(call.Code, Is.Zero, call.Error);
        Assert.That(NpyFile.Read<float>(Features).Shape, Is.EqualTo(new[] { 0, 16 }));
    }

    [Test]
    public void Bad_input_is_named_and_nothing_is_written()
    {
        string checkpoint = SaveModel(), ids = Path.Combine(Folder, "ids.npy"), images = Path.Combine(Folder, "x.npy");
        NpyFile.Write<long>(ids, new long[] { 1, 2, 50, 4 }, 1, 4);
        NpyFile.Write<float>(images, new float[3 * 24 * 23], 1, 3, 24, 23);
        Assert.Multiple(() =>
        {
            Fails("range from 1 to 50", "--texts", ids);
            Fails("1 x 3 x 24 x 23", "--images", images);
            Fails("is 1 x 4; images", "--images", ids.Replace("ids", "ids4"), () => NpyFile.Write<float>(Path.Combine(Folder, "ids4.npy"), new float[4], 1, 4));
            Fails("pixels must be finite", "--images", images, () => NpyFile.Write<float>(images, Enumerable.Repeat(float.NaN, 3 * 24 * 24).ToArray(), 1, 3, 24, 24));
            Fails("token ids are n x T", "--texts", ids, () => NpyFile.Write<long>(ids, new long[4], 4));
            Fails("either --images or --texts");
            Fails("either --images or --texts", "--texts", ids, null, "--images", images);
            Fails("stretch to 100; a context of 248", "--texts", ids, null, "--context", "248");
            Fails("--batch 0", "--texts", ids, null, "--batch", "0");
            Fails("missing.npy", "--texts", Path.Combine(Folder, "missing.npy"));
            Assert.That(File.Exists(Features), Is.False);
        });

        void Fails(string reason, string? option = null, string? path = null, Action? prepare = null, params string[] more)
        {
            prepare?.Invoke();
            string[] input = option is null ? [] : [option, path!];
            HimoCall call = HimoCall.Run(["encode", "--checkpoint", checkpoint, .. input, .. more, "--out", Features]);
            Assert.That(call.Code, Is.EqualTo(1), call.Error);
            Assert.That(call.Error, Does.Contain(reason));
            Assert.That(call.Output, Is.Empty);
        }
    }

    private string SaveModel()
    {
        string path = Path.Combine(Folder, "model.safetensors");
        using ClipModel model = ClipModel.Create(ClipModelTests.Tiny, seed: 1);
        model.Save(path, new Dictionary<string, string>(), ScalarType.Float32);
        return path;
    }
}
