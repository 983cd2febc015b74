package medtech;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity;
import ca.uhn.fhir.parser.LenientErrorHandler;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import ca.uhn.fhir.validation.ValidationOptions;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.r4.model.CodeableConcept;
import org.hl7.fhir.r4.model.Observation;
import org.hl7.fhir.r4.model.Resource;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * Validates R4 resources against the base profile of their type and, for vital signs, the R4 vital-signs profile.
 *
 * <p>Argument: an NDJSON file, one resource per line. Prints a table (resource type, profile, errors, warnings) and the
 * messages below it; exits with 1 if there is an error. Nothing is read from the network.
 */
public final class Validate {
  private static final String PROFILES = "http://hl7.org/fhir/StructureDefinition/";
  private static final String LOINC = "http://loinc.org";

  /** LOINC code to profile: the table of http://hl7.org/fhir/R4/observation-vitalsigns.html ("magic values"). */
  private static final Map<String, String> VITAL_SIGNS = Map.ofEntries(
      Map.entry("85353-1", "vitalspanel"),
      Map.entry("9279-1", "resprate"),
      Map.entry("8867-4", "heartrate"),
      Map.entry("2708-6", "oxygensat"),
      Map.entry("8310-5", "bodytemp"),
      Map.entry("8302-2", "bodyheight"),
      Map.entry("9843-4", "headcircum"),
      Map.entry("29463-7", "bodyweight"),
      Map.entry("39156-5", "bmi"),
      Map.entry("85354-9", "bp"));

  /** What became of all resources of a type against one profile; `texts` counts equal messages. */
  private static final class Tally {
    int resources;
    int errors;
    int warnings;
    final Map<String, Integer> texts = new TreeMap<>();
  }

  public static void main(String[] arguments) throws Exception {
    var context = FhirContext.forR4();
    // Here a resource is parsed only to choose its profiles; the validator reports what is invalid in it.
    context.setParserErrorHandler(new LenientErrorHandler(false).disableAllErrors());
    var validator = validator(context);
    var tallies = new TreeMap<String, Tally>();
    for (String line : Files.readAllLines(Path.of(arguments[0]))) {
      var resource = (Resource) context.newJsonParser().parseResource(line);
      for (String profile : profiles(resource)) {
        var tally = tallies.computeIfAbsent(row(resource.fhirType(), profile), each -> new Tally());
        var result = validator.validateWithResult(line, new ValidationOptions().addProfile(PROFILES + profile));
        tally.resources++;
        result.getMessages().forEach(message -> count(tally, message));
      }
    }
    print(tallies);
    System.exit(tallies.isEmpty() || tallies.values().stream().anyMatch(each -> each.errors > 0) ? 1 : 0);
  }

  private static FhirValidator validator(FhirContext context) {
    var unknownCodeSystems = new UnknownCodeSystemWarningValidationSupport(context);
    unknownCodeSystems.setNonExistentCodeSystemSeverity(IssueSeverity.WARNING); // LOINC is not shipped with HAPI
    var support = new ValidationSupportChain(
        new DefaultProfileValidationSupport(context),
        new CommonCodeSystemsTerminologyService(context), // UCUM
        new InMemoryTerminologyServerValidationSupport(context),
        unknownCodeSystems);
    var module = new FhirInstanceValidator(support);
    module.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore); // a narrative, a performer: not the app's
    return context.newValidator().registerValidatorModule(module);
  }

  /** The base profile, and the vital-signs profiles that the resource's codes call for. */
  private static List<String> profiles(Resource resource) {
    var profiles = new ArrayList<String>();
    profiles.add(resource.fhirType());
    if (resource instanceof Observation observation) {
      observation.getCode().getCoding().stream()
          .filter(coding -> LOINC.equals(coding.getSystem()) && VITAL_SIGNS.containsKey(coding.getCode()))
          .map(coding -> VITAL_SIGNS.get(coding.getCode()))
          .distinct()
          .forEach(profiles::add);
      if (profiles.size() == 1 && observation.getCategory().stream().anyMatch(Validate::isVitalSigns)) {
        profiles.add("vitalsigns");
      }
    }
    return profiles;
  }

  private static boolean isVitalSigns(CodeableConcept category) {
    return category.hasCoding("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs");
  }

  private static void count(Tally tally, SingleValidationMessage message) {
    var isError = message.getSeverity().compareTo(ResultSeverityEnum.ERROR) >= 0;
    if (isError) {
      tally.errors++;
    } else if (message.getSeverity() == ResultSeverityEnum.WARNING) {
      tally.warnings++;
    } else {
      return;
    }
    var text = (isError ? "error" : "warning") + " at " + message.getLocationString() + ": " + message.getMessage();
    tally.texts.merge(text, 1, Integer::sum);
  }

  private static String row(String resourceType, String profile) {
    return "%-13s  %-11s".formatted(resourceType, profile);
  }

  private static void print(Map<String, Tally> tallies) {
    System.out.printf("%s  %9s  %6s  %8s%n", row("resource type", "profile"), "resources", "errors", "warnings");
    tallies.forEach((row, tally) ->
        System.out.printf("%s  %9d  %6d  %8d%n", row, tally.resources, tally.errors, tally.warnings));
    tallies.forEach((row, tally) -> {
      if (!tally.texts.isEmpty()) {
        System.out.printf("%n%s%n", row.strip());
        tally.texts.forEach((text, count) -> System.out.printf("  %d x %s%n", count, text));
      }
    });
  }
}
