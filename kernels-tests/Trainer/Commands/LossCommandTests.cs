// SPDX-License-Identifier: Apache-2.0
using System.Globalization;
using System.Text.Json;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests;

/// <summary>The contract of <c>./himo loss</c>, checked with the authors' numbers.</summary>
public sealed class LossCommandTests : FolderTests
{
    [TestCase("n8_d16", "base", "reference")]
    [TestCase("n8_d16", "lam2_ls0_t007", "reference")]
    [TestCase("n8_d16", "global_only", "reference")]
    [TestCase("n8_d16", "comp_only", "reference")]
    [TestCase("n8_d16", "pca_both_renorm", "reference")]
    [TestCase("n8_d16", "pca_image", "reference")]
    [TestCase("n96_d32", "base", "reference")]
    [TestCase("n8_d16", "base", "cpu")]
    [TestCase("n8_d16", "lam2_ls0_t007", "cpu")]
    [TestCase("n8_d16", "pca_both_renorm", "cpu")]
    [TestCase("n8_d16", "pca_image", "cpu")]
    [TestCase("n96_d32", "base", "cpu")]
    public void Every_option_arrives_and_every_number_comes_back(string golden, string id, string backend)
    {
        (double loss, double gradient) = backend == "reference" ? (1e-10, 1e-8) : (2e-6, 2e-4);
        CheckGolden(golden, id, backend, loss, gradient, _ => true);
    }

    [TestCase("n8_d16", "base", BasisGradient.Exact)]
    [TestCase("n8_d16", "pca_image", BasisGradient.Stopped)]
    [Category(TestGpu.Emulation)]
    public void The_emulated_GPU_gives_the_golden_numbers(string golden, string id, BasisGradient basis) =>
        CheckGolden(golden, id, "gpu-emulated", 5e-6, 1e-3, gradient => gradient.GatherWithGrad && gradient.Basis == basis);

    [TestCase("strict", 5e-6, 1e-3)]
    [TestCase("tf32", 5e-3, 3e-2)]
    [TestCase("bf16", 3e-2, 1e-1)]
    [Category(TestGpu.Emulation)]
    public void Precisions_arrive_at_the_emulated_GPU(string precision, double lossTolerance, double gradientTolerance)
    {
        double[] features = [.. Enumerable.Range(0, 30).Select(i => Math.Sin(i * i))];
        string images = Save("v.npy", features[..15], 5, 3);
        string texts = Save("u.npy", features[15..], 5, 3);
        (JsonElement expected, double[] gradient) = Evaluate("reference");
        (JsonElement json, double[] written) = Evaluate("gpu-emulated", "--precision", precision);
        Assert.Multiple(() =>
        {
            Assert.That(json.GetProperty("m").GetInt32(), Is.EqualTo(expected.GetProperty("m").GetInt32()));
            Expect.Loss(json.GetProperty("loss").GetDouble(), expected.GetProperty("loss").GetDouble(), lossTolerance, "loss");
            Expect.Gradient(written, gradient, gradientTolerance, "texts");
            Assert.That(written, Is.Not.EqualTo(gradient), "it is not the reference that ran");
        });

        (JsonElement Json, double[] GradTexts) Evaluate(params string[] backend)
        {
            HimoCall call = HimoCall.Run(["loss", "--images", images, "--texts", texts, "--out", Folder, "--tau", "0.6", "--backend", .. backend]);
            Assert.That(call.Code, Is.Zero, call.Error);
            return (ReadLoss(), NpyFile.Read<double>(Path.Combine(Folder, "grad_texts.npy")).Elements);
        }
    }

    [Test]
    public void What_the_GPU_does_not_have_is_one_line_with_the_way_out()
    {
        string tall = Save("tall.npy", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
        Assert.Multiple(() =>
        {
            Fails("--precision bf16 is for --backend gpu and gpu-emulated", "--backend", "cpu", "--precision", "bf16");
            if (Gpu.FindCuda().Count == 0)
            {
                Fails("There is no CUDA device here, or no driver for it: 'nvidia-smi' must list one (Debian: package nvidia-driver). Use the CPU otherwise, or for small batches the emulation (--backend cpu, gpu-emulated).", "--backend", "gpu");
            }
        });

        void Fails(string message, params string[] arguments)
        {
            HimoCall call = HimoCall.Run(["loss", "--images", tall, "--texts", tall, "--out", Path.Combine(Folder, "out"), .. arguments]);
            Assert.That((call.Code, Directory.Exists(Path.Combine(Folder, "out"))), Is.EqualTo((1, false)));
            Assert.That(call.Error, Does.StartWith("himo: ").And.Contain(message).And.Matches(@"^[^\n]*\n$"));
        }
    }

    [Test]
    public void The_json_has_the_fields_of_the_contract_in_numbers_that_round_trip()
    {
        GoldenLoss given = GoldenLoss.Open("n8_d16", "base");
        double[] images = [.. given.Images().Select(value => (double)value)];
        double[] texts = [.. given.Texts().Select(value => (double)value)];
        NpyFile.Write<double>(Path.Combine(Folder, "v8.npy"), images, 8, 16);
        NpyFile.Write<double>(Path.Combine(Folder, "u8.npy"), texts, 8, 16);
        HimoCall call = HimoCall.Run(
            "loss", "--images", Path.Combine(Folder, "v8.npy"), "--texts", Path.Combine(Folder, "u8.npy"), "--out", Folder,
            "--backend", "reference", "--logit-scale", "4.6052");
        Assert.That(call.Code, Is.Zero, call.Error);
        JsonElement json = ReadLoss();
        MoLoResult expected = TrainingStepReference.Run(images, texts, 8, 16, 4.6052, new MoLoOptions()).Result;
        Assert.Multiple(() =>
        {
            Assert.That(
                json.EnumerateObject().Select(field => field.Name),
                Is.EqualTo(new[] { "loss", "global", "component", "m", "explained_variance", "grad_logit_scale" }));
            Assert.That(json.GetProperty("loss").GetDouble(), Is.EqualTo(expected.Loss));
            Assert.That(json.GetProperty("global").GetDouble(), Is.EqualTo(expected.Global));
            Assert.That(json.GetProperty("component").GetDouble(), Is.EqualTo(expected.Component));
            Assert.That(json.GetProperty("m").GetInt32(), Is.EqualTo(expected.M));
            Assert.That(json.GetProperty("explained_variance").GetDouble(), Is.EqualTo(expected.ExplainedVariance));
            Assert.That(json.GetProperty("grad_logit_scale").GetDouble(), Is.EqualTo(expected.GradLogitScale));
        });
    }

    [TestCase("reference")]
    [TestCase("cpu")]
    [TestCase("gpu-emulated")]
    public void Bad_input_is_named_and_nothing_is_written(string backend)
    {
        string good = Save("good.npy", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
        string nan = Save("nan.npy", [1.0, 2.0, 3.0, 4.0, double.NaN, 6.0], 2, 3);
        string wide = Save("wide.npy", [1.0, 2.0, 3.0, 4.0], 1, 4);
        string flat = Save("flat.npy", [1.0, 2.0], 2);
        string empty = Save("empty.npy", [], 0, 3);
        string text = Path.Combine(Folder, "text.npy");
        File.WriteAllText(text, "no array");
        Assert.Multiple(() =>
        {
            Fails(nan, good, "nan.npy: row 1, column 1 is NaN; features must be finite");
            Fails(good, wide, "--images is 2 x 3, --texts is 1 x 4; both must be N x d");
            Fails(flat, good, "flat.npy: is 2; features are a matrix N x d");
            Fails(good, empty, "empty.npy: is 0 x 3; features are a matrix N x d");
            Fails(good, text, "text.npy");
            Fails(good, Path.Combine(Folder, "none.npy"), "none.npy");
            Fails(good, good, "Tau must be in (0, 1]; it is 1.5", "--tau", "1.5");
            Fails(good, good, "LabelSmoothing must be in [0, 1); it is 1", "--label-smoothing", "1");
            Fails(good, good, "Lambda must be finite; it is NaN", "--lambda", "NaN");
            Fails(good, good, "logitScale must be from -100 to", "--logit-scale", "301");
            Assert.That(Directory.Exists(Path.Combine(Folder, "out")), Is.False);
        });

        void Fails(string images, string texts, string message, params string[] more)
        {
            string[] arguments = ["loss", "--images", images, "--texts", texts, "--out", Path.Combine(Folder, "out"), "--backend", backend, .. more];
            HimoCall call = HimoCall.Run(arguments);
            Assert.That(call.Code, Is.EqualTo(1), message);
            Assert.That(call.Error, Does.StartWith("himo: ").And.Contain(message));
            Assert.That(call.Error.Split('\n'), Has.Length.EqualTo(2), "one line");
        }
    }

    private void CheckGolden(string golden, string id, string backend, double lossTolerance, double gradientTolerance, Func<GoldenGradient, bool> filter)
    {
        GoldenLoss given = GoldenLoss.Open(golden, id);
        bool isReference = backend == "reference";
        Assert.Multiple(() =>
        {
            foreach (IGrouping<(bool, BasisGradient), GoldenGradient> group in given.Gradients().Where(filter).GroupBy(each => (each.GatherWithGrad, each.Basis)))
            {
                HimoCall call = Call(golden, backend, given, group.Key.Item1, group.Key.Item2);
                Assert.That((call.Code, call.Output), Is.EqualTo((0, "")), call.Error);
                JsonElement json = ReadLoss();
                Expect.Loss(json.GetProperty("loss").GetDouble(), given.Total, lossTolerance, "loss");
                Expect.LogitScaleGradient(json.GetProperty("grad_logit_scale").GetDouble(), given.GradLogitScale, given.Total, gradientTolerance);
                bool hasComponent = given.Options.Lambda != 0.0;
                if (hasComponent)
                {
                    bool isText = given.Options.Components == ComponentSource.Text;
                    Assert.That(json.GetProperty(isText ? "m" : "m_image").GetDouble(), Is.EqualTo(given.Scalar("m")));
                    Expect.Loss(json.GetProperty("component").GetDouble(), given.Scalar("loss_comp"), lossTolerance, "component");
                    Assert.That(json.GetProperty("explained_variance").GetDouble(), Is.InRange(given.Options.Tau, 1.0));
                }

                foreach (GoldenGradient gradient in group)
                {
                    NpyArray<double> written = NpyFile.Read<double>(Path.Combine(Folder, gradient.IsImage ? "grad_images.npy" : "grad_texts.npy"));
                    Assert.That(written.StoredType, Is.EqualTo(isReference ? "f8" : "f4"));
                    Assert.That(written.Shape, Is.EqualTo(new[] { given.Rows, given.Columns }));
                    double tolerance = isReference && gradient.IsRounded ? 5e-8 : gradientTolerance;
                    Expect.Gradient(gradient.Of(written.Elements, given.Columns), gradient.Values, tolerance, gradient.Name);
                }
            }
        });
    }

    private HimoCall Call(string golden, string backend, GoldenLoss given, bool gather, BasisGradient basis)
    {
        string data = TestData.Get("golden", "loss", golden);
        string component = given.Options.Components switch
        {
            ComponentSource.Text => "text",
            ComponentSource.TextAndImage => "text-and-image",
            _ => "image",
        };
        return HimoCall.Run(
            "loss", "--images", Path.Combine(data, "v.npy"), "--texts", Path.Combine(data, "u.npy"), "--out", Folder, "--backend", backend,
            "--logit-scale", Text(given.LogitScale), "--tau", Text(given.Options.Tau), "--lambda", Text(given.Options.Lambda),
            "--global-weight", Text(given.Options.GlobalWeight), "--label-smoothing", Text(given.Options.LabelSmoothing),
            "--components", component,
            "--component-normalization", given.Options.ComponentNormalization == ComponentNormalization.Cosine ? "cosine" : "none",
            "--basis-gradient", basis == BasisGradient.Exact ? "exact" : "stopped",
            "--gather-with-grad", gather ? "on" : "off");
    }

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private JsonElement ReadLoss() => JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "loss.json"))).RootElement;

    private string Save(string name, double[] values, params int[] shape)
    {
        string path = Path.Combine(Folder, name);
        NpyFile.Write<double>(path, values, shape);
        return path;
    }
}
