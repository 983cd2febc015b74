package medtech;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.test.config.TestR4Config;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;

/** HAPI FHIR R4 at http://127.0.0.1:PORT/fhir; prints `ready` when it serves. */
public final class HapiServer {
  public static void main(String[] arguments) throws Exception {
    var application = new AnnotationConfigApplicationContext(TestR4Config.class);
    var settings = application.getBean(JpaStorageSettings.class);
    // The tests write Observations of people who are not there, and delete people whom a Device names.
    settings.setEnforceReferentialIntegrityOnWrite(false);
    settings.setEnforceReferentialIntegrityOnDelete(false);

    var fhir = new RestfulServer(application.getBean(FhirContext.class));
    var resources = application.getBean("myResourceProvidersR4", ResourceProviderFactory.class);
    fhir.registerProviders(resources.createProviders());
    fhir.registerProvider(application.getBean("mySystemProviderR4"));
    fhir.setPagingProvider(application.getBean(DatabaseBackedPagingProvider.class));
    fhir.setServerConformanceProvider(new JpaCapabilityStatementProvider(
        fhir,
        (IFhirSystemDao<?, ?>) application.getBean("mySystemDaoR4"),
        settings,
        application.getBean(ISearchParamRegistry.class),
        application.getBean(IValidationSupport.class)));

    var server = new Server(Integer.parseInt(arguments[0]));
    var handler = new ServletContextHandler();
    handler.addServlet(new ServletHolder(fhir), "/fhir/*");
    server.setHandler(handler);
    server.start();
    System.out.println("ready");
    server.join();
  }
}
