module fairlead.dev/localcluster/volumes

go 1.26.0
