// SPDX-License-Identifier: Apache-2.0
using System.Text.RegularExpressions;
using HiMo.Trainer;
using NUnit.Framework;

namespace HiMo.Kernels.Tests.Trainer.Reporting;

[TestFixture]
internal sealed partial class ReportPageTests
{
    private string _folder = "";
    private string[] _runs = [];

    [OneTimeSetUp]
    public void WriteRuns()
    {
        _folder = Directory.CreateTempSubdirectory("himo-report-").FullName;
        _runs = SampleRuns.Write(_folder);
    }

    [OneTimeTearDown]
    public void DeleteRuns() => Directory.Delete(_folder, recursive: true);

    [TestCase(500)] // Chromium's narrowest window
    [TestCase(1280)]
    public void Every_chart_is_drawn_without_a_console_message(int width)
    {
        string page = Write("page.html", _runs, Benchmarks());

        Chromium seen = Chromium.Open(page, width);

        int panels = PanelStart().Count(File.ReadAllText(page));
        Assert.Multiple(() =>
        {
            Assert.That(seen.Console, Is.Empty);
            Assert.That(panels, Is.EqualTo(2 + 4 + 2 + 2 + 6 + 2 + 6 + 8 + 1 + 1), "panels of the ten figures");
            Assert.That(seen.Document, Does.Contain($"data-drawn=\"{panels}\""));
            Assert.That(MainSvg().Count(seen.Document), Is.GreaterThanOrEqualTo(panels), "every panel holds a drawing");
            Assert.That(TracePath().Count(seen.Document), Is.GreaterThanOrEqualTo(panels), "and a drawn line or bar in it");
        });
    }

    [Test]
    public void Page_needs_nothing_from_outside()
    {
        string html = File.ReadAllText(Write("alone.html", _runs, null));

        string own = ScriptBody().Replace(html, "");
        Assert.Multiple(() =>
        {
            Assert.That(own, Does.Not.Contain("http://").And.Not.Contain("https://"));
            Assert.That(own, Does.Not.Contain("<link rel=\"stylesheet\"").And.Not.Contain(" src=\"images"));
            Assert.That(own, Does.Contain("src=\"data:image/png;base64,"));
        });
    }

    [Test]
    public void Table_shows_mean_spread_and_difference_of_the_seeds()
    {
        string html = ResultTable.Html(RunGroup.From([.. _runs.Select(RunFolder.Read)]));

        // Full captions, image to text: plain 0.9 + {0, .004, .008}, HiMo 0.88 + the same; a sample deviation of 0.4 points each, so -2 is clear.
        Assert.That(html, Does.Contain("<th scope=\"row\">full captions, image to text</th><td>96.0</td><td>90.4<small> ± 0.4</small></td><td>88.4<small> ± 0.4</small></td><td class=\"loss\">−2.0</td>"));
        // First half: no difference at all, hence neither a win nor a loss.
        Assert.That(html, Does.Contain("<th scope=\"row\">first half, image to text</th><td>60.0</td><td>60.4<small> ± 0.4</small></td><td>60.4<small> ± 0.4</small></td><td class=\"even\">+0.0</td>"));
    }

    [Test]
    public void Text_of_captions_and_names_is_escaped()
    {
        string html = File.ReadAllText(Write("escaped.html", _runs, null));

        Assert.That(html, Does.Contain("&lt;red&gt;").And.Not.Contain("<red>"));
    }

    [Test]
    public void Runs_that_differ_in_an_option_are_groups_of_their_own()
    {
        string[] runs = SampleRuns.Write(Directory.CreateDirectory(Path.Combine(_folder, "varied")).FullName);
        string config = Path.Combine(runs.First(run => run.Contains("himo-base1-seed2", StringComparison.Ordinal)), "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"tau\":0.6", "\"tau\":0.9", StringComparison.Ordinal));

        string[] labels = [.. RunGroup.From([.. runs.Select(RunFolder.Read)]).Where(group => group.Base == "demo-base-1").Select(group => $"{group.Label}: {group.Runs.Count}")];

        Assert.That(labels, Is.EqualTo(new[] { "before: 1", "plain: 3", "HiMo, tau 0.6: 2", "HiMo, tau 0.9: 1" }));
    }

    [Test]
    public void Failures_show_both_pictures_and_the_caption()
    {
        string html = File.ReadAllText(Write("failures.html", _runs, null));
        string section = html[html.IndexOf("<section id=\"failures\"", StringComparison.Ordinal)..html.IndexOf("<section id=\"setting\"", StringComparison.Ordinal)];
        Assert.Multiple(() =>
        {
            Assert.That(Failure().Count(section), Is.EqualTo(4), "two of plain and two of HiMo; the base before training is left out");
            Assert.That(section, Does.Contain("<b>rank 57</b> · 0.310").And.Contain("<b>rank 1</b> · 0.400").And.Contain("the &lt;red&gt; disc"));
        });
    }

    [Test]
    public void Large_pictures_are_scaled_down()
    {
        string root = Directory.CreateDirectory(Path.Combine(_folder, "photos")).FullName;
        string[] runs = SampleRuns.Write(root);
        using SkiaSharp.SKBitmap photo = new(1200, 800);
        Random random = new(1);
        photo.Pixels = [.. Enumerable.Range(0, 1200 * 800).Select(_ => new SkiaSharp.SKColor((uint)random.Next() | 0xFF000000))];
        using SkiaSharp.SKData data = photo.Encode(SkiaSharp.SKEncodedImageFormat.Png, 100);
        File.WriteAllBytes(Path.Combine(root, "data", "eval", "images", "000000.png"), data.ToArray());
        string page = Path.Combine(root, "page.html");
        Assert.That(ReportCommand.Write(runs, null, page, "himo report"), Is.Empty);
        string source = Picture64().Match(File.ReadAllText(page)).Groups[1].Value;
        Raster shown = ImageFile.Decode(Convert.FromBase64String(source), "shown", rgbFirst: true);
        Assert.That((data.Size > 1_000_000, shown.Width, shown.Height), Is.EqualTo((true, 256, 170)));
    }

    [Test]
    public void Missing_pictures_are_named()
    {
        File.Move(Picture, Picture + ".away");
        IReadOnlyCollection<string> missing = ReportCommand.Write(_runs, null, Path.Combine(_folder, "bare.html"), "himo report");
        File.Move(Picture + ".away", Picture);

        Assert.That(missing, Is.EqualTo(new[] { "images/000000.png" }));
    }

    [Test]
    public void Wrong_input_is_one_clear_error_and_leaves_the_old_page()
    {
        string page = Write("kept.html", _runs, null);
        string before = File.ReadAllText(page);
        string broken = Directory.CreateDirectory(Path.Combine(_folder, "broken")).FullName;
        File.WriteAllText(Path.Combine(broken, "log.jsonl"), "{\"kind\":\"step\",\"step\":1}\n{\"kind\":");

        Assert.Multiple(() =>
        {
            Assert.That(() => Write("kept.html", [Path.Combine(_folder, "nowhere")], null), Throws.TypeOf<UserError>().With.Message.Contain("nowhere"));
            Assert.That(() => Write("kept.html", [_folder], null), Throws.TypeOf<UserError>().With.Message.Contain("neither log.jsonl nor eval.json"));
            Assert.That(() => Write("kept.html", [broken], null), Throws.TypeOf<UserError>().With.Message.Contain("line 2"));
            Assert.That(() => Write("kept.html", _runs, Path.Combine(_folder, "none.json")), Throws.TypeOf<UserError>().With.Message.Contain("--bench"));
            Assert.That(File.ReadAllText(page), Is.EqualTo(before));
        });
    }

    private string Picture => Path.Combine(_folder, "data", "eval", "images", "000000.png");

    private string Write(string name, string[] runs, string? benchmarks)
    {
        string page = Path.Combine(_folder, name);
        _ = ReportCommand.Write(runs, benchmarks, page, "himo report out/demo/runs/* --out page.html");
        return page;
    }

    private string Benchmarks()
    {
        string path = Path.Combine(_folder, "bench.json");
        File.WriteAllText(path, """
            [{"n":128,"dim":128,"fused_ms":1.0,"plain_ms":4.0,"plain_eigh_ms":2.5,"ratio":4.0,"ratio_eigh":2.5},
             {"n":128,"dim":512,"fused_ms":2.0,"plain_ms":9.0,"plain_eigh_ms":6.0,"ratio":4.5,"ratio_eigh":3.0}]
            """);
        return path;
    }

    [GeneratedRegex("<div class=\"panel\"")]
    private static partial Regex PanelStart();

    [GeneratedRegex("<svg class=\"main-svg\"")]
    private static partial Regex MainSvg();

    [GeneratedRegex("<path class=\"js-line\"|<g class=\"point\"")]
    private static partial Regex TracePath();

    [GeneratedRegex("<article class=\"failure\">")]
    private static partial Regex Failure();

    [GeneratedRegex("src=\"data:image/jpeg;base64,([^\"]+)")]
    private static partial Regex Picture64();

    [GeneratedRegex("<script>.*?</script>", RegexOptions.Singleline)]
    private static partial Regex ScriptBody();
}
